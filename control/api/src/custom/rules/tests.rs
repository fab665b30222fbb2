//! Rules as projects write them.

use serde_json::json;

use super::*;

fn judged(schema: &Value, value: &Value, old: Option<&Value>) -> Vec<String> {
    let schema = Schema::parse(schema);
    let mut causes = Causes::new();
    for rule in &schema.rules {
        rule.judge(value, old, &schema, "spec", &mut causes);
    }
    causes.into_iter().map(|c| format!("{}: {}", c.field, c.message)).collect()
}

fn one(rule: &str) -> Value {
    json!({ "type": "object", "properties": { "min": { "type": "integer" }, "ratio": { "type": "number" },
            "names": { "type": "array", "items": { "type": "string" } },
            "wait": { "type": "string", "format": "duration" }, "at-most": { "type": "integer" } },
            "x-kubernetes-validations": [{ "rule": rule }] })
}

#[test]
fn rules_that_hold_and_rules_that_do_not() {
    let value = json!({ "min": 3, "ratio": 2, "names": ["a", "b"], "wait": "90s", "at-most": 5 });
    for holds in [
        "self.min <= 3 && self.min > 2",
        "self.ratio < 2.5",
        "self.names.all(n, n.size() == 1)",
        "'a' in self.names",
        "has(self.min) && !has(self.max)",
        "!has(self.max) || self.max > 1",
        "self.wait > duration('1m')",
        "self.at__dash__most == 5",
        "self.names.isSorted()",
        "self.names.map(n, size(n)).sum() == 2",
        "self.names.exists_one(n, n == 'b')",
        "'abc-12'.find('[0-9]+') == '12'",
        "self.names.join('-') == 'a-b'",
        "self.?max.orValue(7) == 7",
        "'x'.matches('^[a-z]$')",
        "int('4') + self.min == 7",
        "isIP('10.0.0.1') && !isIP('x') && isCIDR('fd00::/8') && isURL('https://a/b')",
        "isQuantity('1.5Gi') && !isQuantity('many')",
        "self.names.max() == 'b' && self.names.min() == 'a'",
        "'%d of %s'.format([self.min, 'a']) == '3 of a'",
    ] {
        assert_eq!(judged(&one(holds), &value, None), Vec::<String>::new(), "{holds}");
    }
    let failed = judged(&one("self.min > 3"), &value, None);
    assert_eq!(failed, ["spec: Invalid value: \"object\": failed rule: self.min > 3"]);
    let failed = judged(&one("self.absent > 3"), &value, None);
    assert!(failed[0].contains("rule evaluation error"), "{failed:?}");
}

#[test]
fn messages_reasons_and_fields() {
    let schema = json!({ "type": "object", "x-kubernetes-validations": [
        { "rule": "self.min > 3", "message": "min is small", "fieldPath": ".min", "reason": "FieldValueForbidden" },
        { "rule": "self.min > 4", "messageExpression": "'min is ' + string(self.min)", "message": "unused" },
        { "rule": "self.min > 5", "message": "needed", "reason": "FieldValueRequired" },
    ] });
    let wanted = [
        "spec.min: Forbidden: min is small",
        "spec: Invalid value: \"object\": min is 3",
        "spec: Required value: needed",
    ];
    assert_eq!(judged(&schema, &json!({ "min": 3 }), None), wanted);
}

#[test]
fn transitions_wait_for_an_update() {
    let schema = json!({ "type": "string", "x-kubernetes-validations": [
        { "rule": "self == oldSelf", "message": "Value is immutable" }] });
    assert!(judged(&schema, &json!("a"), None).is_empty());
    assert!(judged(&schema, &json!("a"), Some(&json!("a"))).is_empty());
    let changed = judged(&schema, &json!("b"), Some(&json!("a")));
    assert_eq!(changed, ["spec: Invalid value: \"string\": Value is immutable"]);
    let schema = json!({ "type": "integer", "x-kubernetes-validations": [
        { "rule": "!oldSelf.hasValue() || self >= oldSelf.value()", "optionalOldSelf": true, "message": "may not shrink" }] });
    assert!(judged(&schema, &json!(1), None).is_empty());
    assert_eq!(judged(&schema, &json!(1), Some(&json!(2))).len(), 1);
}

#[test]
fn what_does_not_compile_is_refused() {
    let refused = |rule: &str| {
        let mut causes = Causes::new();
        check(&[json!({ "rule": rule })], "schema", &mut causes);
        causes.into_iter().map(|c| c.message).collect::<Vec<_>>()
    };
    for good in [
        "self.a == oldSelf.a",
        "self.all(x, x.b)",
        "type(self.a) == string",
        "math.greatest(1, 2) == 2",
        "quantity(self.a).isGreaterThan(quantity('1'))",
    ] {
        assert_eq!(refused(good), Vec::<String>::new(), "{good}");
    }
    for (bad, words) in [
        ("self.a ==", "compilation failed"),
        ("other.a", "undeclared reference to 'other'"),
        ("semver(self.a).isGreaterThan(semver('1.0.0'))", "not served here"),
    ] {
        let said = refused(bad);
        assert!(said.len() == 1 && said[0].contains(words), "{bad}: {said:?}");
    }
    assert_eq!(refused(" ").len(), 1);
}
