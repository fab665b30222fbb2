//! Names in an expression: those that it brings itself, the variables of its macros (`self.all(x, ..)`), and fields of others.

use std::collections::HashSet;

use cel::common::ast::{EntryExpr, Expr, IdedExpr};

/// All that it brings, wherever they are bound.
pub(super) fn bound(expression: &IdedExpr) -> HashSet<&str> {
    let mut names = HashSet::new();
    each(expression, &mut |part| {
        if let Expr::Comprehension(of) = &part.expr {
            names.insert(of.iter_var.as_str());
            names.insert(of.accu_var.as_str());
            names.extend(of.iter_var2.as_deref());
        }
    });
    names
}

/// Whether `variable.field` occurs.
pub(super) fn selects(expression: &IdedExpr, variable: &str, field: &str) -> bool {
    let mut found = false;
    each(expression, &mut |part| {
        if let Expr::Select(select) = &part.expr
            && let Expr::Ident(name) = &select.operand.expr
        {
            found |= name == variable && select.field == field;
        }
    });
    found
}

/// Shows every part of it.
fn each<'e>(expression: &'e IdedExpr, see: &mut dyn FnMut(&'e IdedExpr)) {
    see(expression);
    match &expression.expr {
        Expr::Comprehension(of) => {
            for inner in [&of.iter_range, &of.accu_init, &of.loop_cond, &of.loop_step, &of.result] {
                each(inner, see);
            }
        }
        Expr::Call(call) => {
            let target = call.target.as_deref().into_iter();
            target.chain(&call.args).for_each(|inner| each(inner, see));
        }
        Expr::List(list) => list.elements.iter().for_each(|inner| each(inner, see)),
        Expr::Select(select) => each(&select.operand, see),
        Expr::Map(map) => map.entries.iter().for_each(|e| entry(&e.expr, see)),
        Expr::Struct(of) => of.entries.iter().for_each(|e| entry(&e.expr, see)),
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => {}
    }
}

fn entry<'e>(of: &'e EntryExpr, see: &mut dyn FnMut(&'e IdedExpr)) {
    match of {
        EntryExpr::StructField(field) => each(&field.value, see),
        EntryExpr::MapEntry(entry) => {
            each(&entry.key, see);
            each(&entry.value, see);
        }
    }
}
