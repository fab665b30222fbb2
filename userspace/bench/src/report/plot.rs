//! Bars with whiskers: one plot for each kind of figure, one group for each size, one colour for each mode.

use plotters::{
    coord::Shift,
    prelude::{
        DrawingArea, EmptyElement, IntoDrawingArea as _, IntoFont as _, PathElement, RGBColor,
        Rectangle, SVGBackend, Text,
    },
    style::{BLACK, Color as _, WHITE},
};

use super::{
    Report,
    table::{number, so_many},
};
use crate::{
    BenchError,
    figure::{Figure, Kind},
    mode::ModeName,
};

const WIDTH: u32 = 560;
const BAR: i32 = 18;
const LEFT: i32 = 190;
/// Room for the median at the end of a bar.
const RIGHT: i32 = 110;
const TOP: i32 = 40;
/// Between groups.
const GAP: i32 = 26;

/// What a drawing function of the library returns.
type Drawn = Result<(), Box<dyn std::error::Error>>;

/// One plot, if there are such figures.
pub fn of(report: &Report, kind: Kind) -> Result<Option<String>, BenchError> {
    let groups: Vec<(usize, Vec<&Figure>)> = report
        .sizes()
        .into_iter()
        .map(|services| {
            let modes = ModeName::ALL.into_iter();
            (services, modes.filter_map(|mode| report.find(kind, mode, services)).collect())
        })
        .filter(|(_, figures): &(usize, Vec<&Figure>)| !figures.is_empty())
        .collect();
    if groups.is_empty() {
        return Ok(None);
    }
    let bars: usize = groups.iter().map(|(_, figures)| figures.len()).sum();
    let height = TOP + GAP * length(groups.len()) + BAR * length(bars) + GAP / 2;
    let mut svg = String::new();
    draw(&mut svg, height.unsigned_abs(), kind, &groups).map_err(|error| BenchError::Plot {
        plot: kind.title().to_owned(),
        message: error.to_string(),
    })?;
    Ok(Some(svg))
}

fn draw(svg: &mut String, height: u32, kind: Kind, groups: &[(usize, Vec<&Figure>)]) -> Drawn {
    let area = SVGBackend::with_string(svg, (WIDTH, height)).into_drawing_area();
    area.fill(&WHITE)?;
    write(&area, (12, 12), 17, &format!("{}, {}", kind.title(), kind.unit()))?;
    let most = groups.iter().flat_map(|(_, figures)| figures).map(|figure| figure.max);
    let scale = most.fold(f64::MIN_POSITIVE, f64::max);
    let mut y = TOP;
    for (services, figures) in groups {
        write(&area, (12, y), 13, &so_many(*services))?;
        y += GAP - 6;
        for figure in figures {
            bar(&area, y, figure, scale)?;
            y += BAR;
        }
        y += 6;
    }
    area.present()?;
    Ok(())
}

fn bar(area: &DrawingArea<SVGBackend<'_>, Shift>, y: i32, figure: &Figure, scale: f64) -> Drawn {
    let x = |value: f64| LEFT + pixels((value.max(0.0) / scale) * f64::from(room()));
    write(area, (24, y), 13, figure.mode.name())?;
    let corners = [(LEFT, y + 1), (x(figure.median).max(LEFT + 1), y + BAR - 4)];
    area.draw(&Rectangle::new(corners, colour(figure.mode).filled()))?;
    let middle = y + BAR / 2 - 1;
    let (low, high) = (x(figure.min), x(figure.max));
    for path in [
        vec![(low, middle), (high, middle)],
        vec![(low, middle - 4), (low, middle + 4)],
        vec![(high, middle - 4), (high, middle + 4)],
    ] {
        area.draw(&PathElement::new(path, BLACK.stroke_width(1)))?;
    }
    write(area, (high.max(x(figure.median)) + 8, y), 13, &number(figure.median))
}

fn write(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    at: (i32, i32),
    size: i32,
    text: &str,
) -> Drawn {
    let font = ("sans-serif", size).into_font();
    area.draw(&(EmptyElement::at(at) + Text::new(text.to_owned(), (0, 0), font)))?;
    Ok(())
}

fn room() -> i32 {
    i32::try_from(WIDTH).unwrap_or(i32::MAX) - LEFT - RIGHT
}

#[expect(clippy::cast_possible_truncation, reason = "a share of the width of a plot")]
fn pixels(value: f64) -> i32 {
    value.round() as i32
}

fn length(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// Told apart also by people who see fewer colours.
fn colour(mode: ModeName) -> RGBColor {
    match mode {
        ModeName::Direct => RGBColor(153, 153, 153),
        ModeName::IptablesLegacy => RGBColor(230, 159, 0),
        ModeName::IptablesNft => RGBColor(213, 94, 0),
        ModeName::Nftables => RGBColor(86, 180, 233),
        ModeName::Beeline => RGBColor(0, 158, 115),
        ModeName::BeelineXdp => RGBColor(0, 114, 178),
        ModeName::BeelineNoFlows => RGBColor(204, 121, 167),
    }
}
