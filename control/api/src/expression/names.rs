//! Names that an expression itself brings: the variables of its macros (`self.all(x, ..)`).

use std::collections::HashSet;

use cel::common::ast::{EntryExpr, Expr, IdedExpr};

/// All of them, wherever they are bound.
pub(super) fn bound(expression: &IdedExpr) -> HashSet<&str> {
    let mut names = HashSet::new();
    walk(expression, &mut names);
    names
}

fn walk<'e>(expression: &'e IdedExpr, names: &mut HashSet<&'e str>) {
    match &expression.expr {
        Expr::Comprehension(of) => {
            names.insert(&of.iter_var);
            names.insert(&of.accu_var);
            names.extend(of.iter_var2.as_deref());
            for inner in [&of.iter_range, &of.accu_init, &of.loop_cond, &of.loop_step, &of.result] {
                walk(inner, names);
            }
        }
        Expr::Call(call) => {
            let target = call.target.as_deref().into_iter();
            target.chain(&call.args).for_each(|inner| walk(inner, names));
        }
        Expr::List(list) => list.elements.iter().for_each(|inner| walk(inner, names)),
        Expr::Select(select) => walk(&select.operand, names),
        Expr::Map(map) => map.entries.iter().for_each(|e| entry(&e.expr, names)),
        Expr::Struct(of) => of.entries.iter().for_each(|e| entry(&e.expr, names)),
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => {}
    }
}

fn entry<'e>(of: &'e EntryExpr, names: &mut HashSet<&'e str>) {
    match of {
        EntryExpr::StructField(field) => walk(&field.value, names),
        EntryExpr::MapEntry(entry) => {
            walk(&entry.key, names);
            walk(&entry.value, names);
        }
    }
}
