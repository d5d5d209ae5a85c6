//! The table as a picture: ratios with their spread, as SVG.

use std::path::Path;

use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::report::{Comparison, Line, Spread};

const WIDTH: u32 = 860;
const ROW_HEIGHT: usize = 30;
/// Of title and numbers.
const FRAME_HEIGHT: usize = 80;
const LEGEND_ROW_HEIGHT: usize = 20;
const LABEL_WIDTH: i32 = 290;
const FONT: &str = "sans-serif";
/// The ratios that are drawn as lines: equal, and the goal for the processor time.
const LINES: [f64; 2] = [1.0, 1.5];

/// A kind of ratio.
struct Series {
    comparison: Comparison,
    name: &'static str,
    color: RGBColor,
    ratio: fn(&Line) -> Option<Spread>,
}

const SERIES: [Series; 4] = [
    Series {
        comparison: Comparison::Gateway,
        name: "processor time: gateway / minimal program",
        color: RGBColor(31, 119, 180),
        ratio: |line| Some(line.cpu.ratio),
    },
    Series {
        comparison: Comparison::LessVerification,
        name: "the same, less one RSA-2048 verification",
        color: RGBColor(148, 103, 189),
        ratio: |line| Some(line.cpu.ratio),
    },
    Series {
        comparison: Comparison::Again,
        name: "processor time: another process of the gateway / gateway (noise)",
        color: RGBColor(127, 127, 127),
        ratio: |line| Some(line.cpu.ratio),
    },
    Series {
        comparison: Comparison::Durable,
        name: "calls/s: with a durable audit, 1 ms a sync / without",
        color: RGBColor(44, 160, 44),
        ratio: Line::rate,
    },
];

type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// Draws the lines, each call at a number of connections from top to bottom.
pub(crate) fn draw(file: &Path, lines: &[Line]) -> anyhow::Result<()> {
    let mut rows: Vec<String> = lines.iter().map(label).collect();
    rows.dedup();
    let chart_height = u32::try_from(rows.len() * ROW_HEIGHT + FRAME_HEIGHT)?;
    let legend_height = u32::try_from((SERIES.len() + 2) * LEGEND_ROW_HEIGHT)?;
    let size = (WIDTH, chart_height + legend_height);
    let root = SVGBackend::new(file, size).into_drawing_area();
    root.fill(&WHITE)?;
    let (root, legend) = root.split_vertically(chart_height);
    let highest = shown(lines).map(|(_series, _label, ratio)| ratio.high).fold(2.0, f64::max);
    let bottom = as_number(rows.len()) - 0.5;
    let mut chart = ChartBuilder::on(&root)
        .caption("Ratios: medians of paired bursts, and their quartiles", (FONT, 18))
        .margin(12)
        .set_label_area_size(LabelAreaPosition::Left, LABEL_WIDTH)
        .set_label_area_size(LabelAreaPosition::Bottom, 24)
        .build_cartesian_2d(0.0..highest * 1.05, bottom..-0.5)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .light_line_style(TRANSPARENT)
        .draw()?;
    for ratio in LINES {
        let line = vec![(ratio, -0.5), (ratio, bottom)];
        chart.draw_series([PathElement::new(line, BLACK.mix(0.5))])?;
    }
    let style = TextStyle::from((FONT, 14)).pos(Pos::new(HPos::Right, VPos::Center));
    for (at, row) in rows.iter().enumerate() {
        let (x, y) = chart.backend_coord(&(0.0, as_number(at)));
        root.draw(&Text::new(row.clone(), (x - 10, y), style.clone()))?;
    }
    for series in &SERIES {
        let ratios: Vec<_> = shown(lines)
            .filter(|(shown, _label, _ratio)| shown.comparison == series.comparison)
            .filter_map(|(_series, label, ratio)| {
                let at = rows.iter().position(|row| *row == label)?;
                Some((as_number(at), ratio))
            })
            .collect();
        if !ratios.is_empty() {
            draw_series(&mut chart, series, &ratios)?;
        }
    }
    draw_legend(&legend)?;
    root.present()?;
    Ok(())
}

fn draw_series(
    chart: &mut Chart<'_, '_>,
    series: &'static Series,
    ratios: &[(f64, Spread)],
) -> anyhow::Result<()> {
    let color = series.color;
    let bars = ratios.iter().map(|(at, ratio)| {
        PathElement::new(vec![(ratio.low, *at), (ratio.high, *at)], color.stroke_width(3))
    });
    chart.draw_series(bars)?;
    let dots = ratios.iter().map(|(at, ratio)| Circle::new((ratio.median, *at), 5, color.filled()));
    chart.draw_series(dots)?;
    Ok(())
}

fn draw_legend(area: &DrawingArea<SVGBackend<'_>, Shift>) -> anyhow::Result<()> {
    let style = TextStyle::from((FONT, 13)).pos(Pos::new(HPos::Left, VPos::Center));
    let text = |name, y| Text::new(name, (LABEL_WIDTH + 26, y), style.clone());
    let mut y = 0;
    for series in &SERIES {
        y += i32::try_from(LEGEND_ROW_HEIGHT)?;
        area.draw(&Circle::new((LABEL_WIDTH + 12, y), 5, series.color.filled()))?;
        area.draw(&text(series.name, y))?;
    }
    y += i32::try_from(LEGEND_ROW_HEIGHT)?;
    area.draw(&text("lines: equal; 1.5, the goal for processor time at 16 and 64 connections", y))?;
    Ok(())
}

/// The ratios in the picture.
fn shown(lines: &[Line]) -> impl Iterator<Item = (&'static Series, String, Spread)> {
    lines.iter().filter_map(|line| {
        let series = SERIES.iter().find(|series| series.comparison == line.comparison)?;
        Some((series, label(line), (series.ratio)(line)?))
    })
}

fn label(line: &Line) -> String {
    let plural = if line.connections == 1 { "" } else { "s" };
    format!("{}, {} connection{plural}", line.row.name(), line.connections)
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn as_number(count: usize) -> f64 {
    count as f64
}
