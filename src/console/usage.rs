//! Usage: by key, model, provider or member, over a time; as a page, and as CSV.

use askama::Template;
use axum::{
    extract::State as AxumState,
    http::{StatusCode, header},
    response::IntoResponse,
};
use serde::Deserialize;

use super::{
    Answer, State,
    assets::ASSET_VERSION,
    chart::Charts,
    figures::{Figures, count},
    list::Params,
    page,
    parts::Choice,
    session::Session,
    shell::{Flash, Nav, Shell},
};
use crate::{
    csv,
    domain::{
        prices,
        usage::{self, By, Named, Period},
    },
};

/// The most groups a page shows one by one; CSV has all.
const ROWS: usize = 100;
/// The most groups in CSV.
const CSV_ROWS: usize = 10_000;

/// Which usage.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct UsageParams {
    by: String,
    period: String,
}

impl UsageParams {
    fn by(&self) -> By {
        By::parse(&self.by).unwrap_or(By::AgentKey)
    }

    fn period(&self) -> Period {
        Period::parse(&self.period).unwrap_or(Period::Month)
    }
}

/// `GET /usage?by=&period=`; what neither of them knows shows the default.
#[derive(Clone, Debug, Template)]
#[template(path = "usage.html")]
pub struct UsagePage {
    /// Around it.
    pub shell: Shell,
    /// What to group by.
    pub groupings: Vec<Choice>,
    /// Which time.
    pub periods: Vec<Choice>,
    /// The header of the groups' column.
    pub group_label: &'static str,
    /// The groups, most calls first.
    pub rows: Vec<UsageRow>,
    /// How many further groups there are, and what was counted of them.
    pub rest: Option<(String, Figures)>,
    /// All of it over time.
    pub charts: Charts,
    /// Where the same stands as CSV.
    pub csv_href: String,
}

/// A group.
#[derive(Clone, Debug)]
pub struct UsageRow {
    /// Its name; `None` where it is gone, or nothing was found for the call.
    pub name: Option<String>,
    /// Its id or name in the usage; empty where nothing was found for the call.
    pub key: String,
    /// Its page, for those that have one.
    pub href: Option<String>,
    /// What was counted.
    pub figures: Figures,
}

/// `GET /usage`
pub async fn show(AxumState(state): AxumState<State>, session: Session, Params(params): Params<UsageParams>) -> Answer {
    let (by, period) = (params.by(), params.period());
    let now = state.core.clock.now_ms();
    let (groups, further, rest) = usage::report(&state.core, by, period, ROWS).await?;
    let counted = usage::over_time(&state.core, period).await?;
    let choice = |value: &str, label: &str, selected| Choice { value: value.into(), label: label.into(), selected };
    let shown = UsagePage {
        shell: session.shell(Nav::Usage),
        groupings: By::ALL.into_iter().map(|one| choice(one.as_str(), label(one), one == by)).collect(),
        periods: Period::ALL.into_iter().map(|one| choice(one.as_str(), one.label(), one == period)).collect(),
        group_label: label(by),
        rows: groups.into_iter().map(|group| row(by, group)).collect(),
        rest: (further > 0).then(|| (count(i64::try_from(further).unwrap_or(i64::MAX)), Figures::new(rest))),
        charts: Charts::new(period, &counted, now),
        csv_href: format!("/usage.csv?by={}&period={}", by.as_str(), period.as_str()),
    };
    page(StatusCode::OK, &shown)
}

fn label(by: By) -> &'static str {
    match by {
        By::AgentKey => "Agent key",
        By::GeneralKey => "General key",
        By::Provider => "Provider",
        By::Model => "Model",
        By::Member => "Member",
    }
}

fn row(by: By, group: Named) -> UsageRow {
    let Named { key, name, counts } = group;
    let href = name.as_ref().and_then(|_| match by {
        By::AgentKey => Some(format!("/keys/agent/{key}")),
        By::GeneralKey => Some(format!("/keys/general/{key}/edit")),
        By::Provider => Some(format!("/catalog/providers/{key}/edit")),
        By::Model | By::Member => None,
    });
    UsageRow { name, key, href, figures: Figures::new(counts) }
}

/// `GET /usage.csv`
pub async fn csv(AxumState(state): AxumState<State>, _: Session, Params(params): Params<UsageParams>) -> Answer {
    let (by, period) = (params.by(), params.period());
    let (groups, _, _) = usage::report(&state.core, by, period, CSV_ROWS).await?;
    let mut text = String::from(
        "key,name,requests,errors,client_errors,server_errors,input_tokens,output_tokens,cost,unpriced_requests,mean_wait_ms\r\n",
    );
    for Named { key, name, counts } in groups {
        let cost = usage::cost_micros(counts).map(prices::decimal).unwrap_or_default();
        let numbers = [counts.requests, counts.errors, counts.client_errors, counts.server_errors];
        let tokens = [counts.input_tokens, counts.output_tokens];
        let wait = counts.wait_ms / counts.requests.max(1);
        let cells: Vec<String> = [csv::cell(&key), csv::cell(&name.unwrap_or_default())]
            .into_iter()
            .chain(numbers.into_iter().chain(tokens).map(|number| number.to_string()))
            .chain([cost, counts.unpriced.to_string(), wait.to_string()])
            .collect();
        text.push_str(&cells.join(","));
        text.push_str("\r\n");
    }
    let file = format!("attachment; filename=\"keyward-usage-{}-{}.csv\"", by.as_str(), period.as_str());
    let headers = [(header::CONTENT_TYPE, csv::MEDIA_TYPE), (header::CONTENT_DISPOSITION, file.as_str())];
    Ok((headers, text).into_response())
}
