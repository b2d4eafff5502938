// SPDX-License-Identifier: GPL-2.0
//! The figures as a picture: instructions by table pages, both axes logarithmic.

use super::case::Measured;
use super::step::Step;
use anyhow::{Result, anyhow};
use plotters::prelude::*;
use protocol::Shape;

const SIZE: (u32, u32) = (1100, 480);
const PAGES: std::ops::Range<f64> = 7.0..150_000.0;

/// A line: its name, its colour, its figure.
type Line<'a> = (&'a str, RGBColor, &'a dyn Fn(&Measured) -> Option<u64>);

const RED: RGBColor = RGBColor(0xb3, 0x26, 0x1e);
const GREEN: RGBColor = RGBColor(0x1b, 0x7f, 0x4b);
const GREY: RGBColor = RGBColor(0x70, 0x70, 0x70);
const BLUE: RGBColor = RGBColor(0x2b, 0x5c, 0xa8);

fn points(
    measured: &[Measured],
    pool: bool,
    figure: &dyn Fn(&Measured) -> Option<u64>,
) -> Vec<(f64, f64)> {
    let cases = measured.iter().filter(|measured| {
        let case = &measured.case;
        case.pool == pool && case.devices == 1 && case.shape == Shape::Scattered
    });
    let points = cases.filter_map(|measured| {
        let instructions = figure(measured).filter(|instructions| *instructions > 0)?;
        Some((measured.table_pages as f64, instructions as f64))
    });
    points.collect()
}

fn panel(
    area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    title: &str,
    measured: &[Measured],
    lines: &[Line<'_>],
) -> Result<()> {
    let all = lines.iter().flat_map(|(_, _, figure)| {
        [true, false]
            .map(|pool| points(measured, pool, figure))
            .concat()
    });
    let values: Vec<_> = all.map(|(_, instructions)| instructions).collect();
    // Room for the legend.
    let most = values.iter().copied().fold(10.0, f64::max) * 100.0;
    let least = values.iter().copied().fold(most, f64::min) / 2.0;
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 16))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(70)
        .build_cartesian_2d(PAGES.log_scale(), (least..most).log_scale())
        .map_err(|error| anyhow!("{error}"))?;
    chart
        .configure_mesh()
        .x_desc("table pages")
        .y_desc("guest instructions")
        .x_label_formatter(&|pages| format!("{pages:.0}"))
        .y_label_formatter(&|instructions| format!("1e{:.0}", instructions.log10()))
        .light_line_style(WHITE)
        .draw()
        .map_err(|error| anyhow!("{error}"))?;
    for (name, colour, figure) in lines {
        for pool in [true, false] {
            let points = points(measured, pool, figure);
            let name = format!("{name}, {}", if pool { "pool" } else { "page by page" });
            let style = colour.stroke_width(2);
            // Filled with a pool, hollow without one.
            let mark = if pool {
                colour.filled()
            } else {
                colour.stroke_width(2)
            };
            chart
                .draw_series(LineSeries::new(points.iter().copied(), style))
                .map_err(|error| anyhow!("{error}"))?;
            chart
                .draw_series(points.iter().map(|point| Circle::new(*point, 4, mark)))
                .map_err(|error| anyhow!("{error}"))?
                .label(name)
                .legend(move |(x, y)| Circle::new((x + 10, y), 4, mark));
        }
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK)
        .draw()
        .map_err(|error| anyhow!("{error}"))?;
    Ok(())
}

/// Renders it.
pub fn render(measured: &[Measured]) -> Result<String> {
    let step = |step: Step| move |measured: &Measured| measured.figures.get(&step).copied();
    let blackout = |measured: &Measured| Some(measured.blackout);
    let reboot = |measured: &Measured| Some(measured.reboot);
    let mut text = String::new();
    {
        let root = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        root.fill(&WHITE).map_err(|error| anyhow!("{error}"))?;
        let (left, right) = root.split_horizontally(SIZE.0 / 2);
        panel(
            &left,
            "While the guest stands still",
            measured,
            &[
                ("whole reboot", GREY, &reboot),
                ("reservation", BLUE, &step(Step::Reservation)),
                ("blackout", RED, &blackout),
            ],
        )?;
        panel(
            &right,
            "While it runs",
            measured,
            &[
                ("preserve", RED, &step(Step::Preserve)),
                ("VERIFY", BLUE, &step(Step::Verify)),
                ("background", GREEN, &step(Step::Background)),
                ("destroy", GREY, &step(Step::Destroy)),
            ],
        )?;
        root.present().map_err(|error| anyhow!("{error}"))?;
    }
    Ok(text)
}
