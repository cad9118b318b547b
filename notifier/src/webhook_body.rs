//! What a webhook says.

use safelight_database::{JobReport, ReportedImage};
use serde_json::{Value, json};

use crate::letter::{output_link, plain};

/// The longest body, in bytes.
const LONGEST: usize = 20_000;

/// The JSON of a job: its first images, as many as fit, and how many more there are.
pub(crate) fn body_of(report: &JobReport, public_url: &str) -> Vec<u8> {
    let base = public_url.trim_end_matches('/');
    let mut told = report.images.len();
    loop {
        let body = with_images(report, base, told).to_string().into_bytes();
        if body.len() <= LONGEST || told == 0 {
            return body;
        }
        told /= 2;
    }
}

fn with_images(report: &JobReport, base: &str, told: usize) -> Value {
    let images: Vec<Value> = report.images[..told]
        .iter()
        .map(|image| of_image(image, base))
        .collect();
    json!({
        "type": "job.joined",
        "timestamp_ms": report.joined_at_ms,
        "data": {
            "job": report.batch_id,
            "images_total": report.images_total,
            "processed": report.processed,
            "failed": report.failed,
            "images": images,
            "more": report.images_total.saturating_sub(told as u64),
        },
    })
}

fn of_image(image: &ReportedImage, base: &str) -> Value {
    let outputs = image.outputs.iter().map(|output| {
        json!({
            "role": output.role,
            "url": output_link(base, image.id, &output.role),
            "content_type": output.content_type,
            "width": output.width,
            "height": output.height,
            "bytes": output.bytes,
        })
    });
    let failed = image.failed_tasks.iter();
    let failed = failed.map(|task| json!({ "kind": task.kind, "reason": task.reason }));
    json!({
        "id": image.id,
        "name": plain(&image.name),
        "url": format!("{base}/images/{}", image.id),
        "status": image.status.as_str(),
        "reason": image.reason,
        "people": image.people,
        "outputs": outputs.collect::<Vec<_>>(),
        "failed_tasks": failed.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::letter::tests::{image, report};

    #[test]
    fn a_body_names_images_and_outputs_by_links_to_the_pages() {
        let body = body_of(&report(vec![image(3, "cat.png")]), "https://safelight.example/");
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["type"], "job.joined");
        assert_eq!(body["data"]["job"], 7);
        assert_eq!(body["data"]["more"], 0);
        let image = &body["data"]["images"][0];
        assert_eq!(
            (image["id"].clone(), image["status"].clone()),
            (json!(3), json!("processed"))
        );
        assert_eq!(
            image["outputs"][0]["url"],
            "https://safelight.example/images/3/outputs/thumbnail-small"
        );
        assert!(!body.to_string().contains("/store/"));
    }

    #[test]
    fn a_body_stays_short_and_says_how_many_it_leaves_out() {
        let images = (1..=50).map(|id| image(id, &"long".repeat(100))).collect();
        let body = body_of(&report(images), "https://safelight.example");
        assert!(body.len() <= LONGEST);
        let body: Value = serde_json::from_slice(&body).unwrap();
        let told = body["data"]["images"].as_array().unwrap().len();
        assert!(told > 5);
        assert_eq!(body["data"]["more"], 50 - told);
    }
}
