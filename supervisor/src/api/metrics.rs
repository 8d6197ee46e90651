//! Metrics as text, made while they are sent: memory for one chunk, however many instances there are.
#![forbid(unsafe_code)]

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::Response;

use super::core::{Call, Refusal};
use super::events::{Lines, of_type};
use super::fault::Fault;
use super::routes::{App, Refused};
use crate::metrics::Scene;
use crate::metrics::table::{FAMILIES, Of};
use crate::metrics::text::Form;

/// Everything that is measured, in Prometheus' text format, or as OpenMetrics where `Accept` asks for it. Values of cgroups
/// are read now.
#[utoipa::path(
    get, path = "/metrics",
    responses(Refused, (status = 200, description = "docs/metrics.md has all of them", content_type = "text/plain"))
)]
pub(super) async fn get(State(app): State<App>, headers: HeaderMap) -> Result<Response, Fault> {
    let permit = app.stream()?;
    let form = Form::wanted(headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()));
    let mut scene = app.ask_soon(Call::Metrics).await?;
    // Some thousand small files on a large host: not on the thread of the loop.
    let read = tokio::task::spawn_blocking(move || {
        scene.read();
        scene
    });
    let scene = read.await.map_err(|e| Refusal::Internal(e.to_string()))?;
    let (lines, body) = of_type(form.content_type());
    tokio::spawn(async move {
        // A client that went away wants no more.
        let _ = write(&scene, form, lines).await;
        drop(permit);
    });
    Ok(body)
}

async fn write(scene: &Scene, form: Form, mut to: Lines) -> Option<()> {
    let mut text = String::new();
    for family in FAMILIES {
        match family.of {
            Of::Daemon(_) => family.of_daemon(form, scene, &mut text),
            Of::Instance(_) => {
                let mut begun = false;
                for seen in &scene.instances {
                    begun = family.of_instance(form, seen, begun, &mut text);
                    to.push_text(&mut text).await?;
                }
            }
        }
        to.push_text(&mut text).await?;
    }
    text.push_str(form.end());
    to.push_text(&mut text).await?;
    to.flush().await
}
