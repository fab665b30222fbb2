//! core/v1 PodTemplate.

use serde_json::Value;

use super::rules::{self, BASE, NAME, col};
use super::{KindInfo, podspec, workload};

/// PodTemplate.
pub static POD_TEMPLATE: KindInfo = KindInfo {
    kind: "PodTemplate",
    plural: "podtemplates",
    singular: "podtemplate",
    generation: true,
    columns: &[NAME, col("Containers"), col("Images"), col("Pod Labels")],
    cells: |o, _| {
        let [containers, images] = workload::container_cells(&o["template"]);
        let labels = rules::map_text(&o["template"]["metadata"]["labels"]);
        vec![rules::name_cell(o), containers, images, labels.into()]
    },
    default: |o| {
        if let Some(spec) = o.pointer_mut("/template/spec").filter(|s| s.is_object()) {
            podspec::default(spec);
        }
    },
    validate: |o: &Value, causes| workload::template(&o["template"], "template", causes),
    ..BASE
};
