import { useComputedColorScheme } from '@mantine/core';
import { useEffect, useMemo, useRef } from 'react';
import uPlot from 'uplot';

import { grouped as thousands, shownDuration, shownNumber, shownTick, shownTicks, shownTime } from '../format/format';
import { positive, smoothed, unitOf, type Axis, type Line } from './series';
import styles from './plot.module.css';

export interface PlotSeries {
  label: string;
  color: string;
  line: Line;
}

export interface PlotOptions {
  axis: Axis;
  logarithmic: boolean;
  /** Weight of the moving average, 0 (as logged) to below 1. */
  smoothing: number;
}

interface Props extends PlotOptions {
  series: readonly PlotSeries[];
  heightPx: number;
  /** Plots with the same key point at the same place. */
  syncKey?: string;
}

/** Columns that each series has in the data: as logged, smoothed, low, high. */
const COLUMNS = 4;

/** One chart. Drag to zoom along x; double click to see all again. */
export function Plot({ series, axis, logarithmic, smoothing, heightPx, syncKey }: Props) {
  const host = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const scheme = useComputedColorScheme('light');
  const unit = useMemo(() => unitOf(series.map((one) => one.line)), [series]);
  const data = useMemo(
    () => joined(series, unit, { axis, logarithmic, smoothing }),
    [series, unit, axis, logarithmic, smoothing],
  );
  const latest = useRef({ series, unit, data });
  latest.current = { series, unit, data };
  const look = series.map((one) => `${one.label}\n${one.color}\n${one.line.banded}`).join('\n');

  useEffect(() => {
    const element = host.current;
    if (element === null) return;
    const made = new uPlot(
      options({
        series: latest.current.series,
        latest: () => latest.current,
        axis,
        logarithmic,
        smoothing,
        dark: scheme === 'dark',
        widthPx: element.clientWidth,
        heightPx,
        syncKey,
      }),
      latest.current.data,
      element,
    );
    plot.current = made;
    const observer = new ResizeObserver(() => {
      if (element.clientWidth > 0) made.setSize({ width: element.clientWidth, height: heightPx });
    });
    observer.observe(element);
    return () => {
      observer.disconnect();
      made.destroy();
      plot.current = null;
    };
    // A new look needs a new plot; new data does not.
  }, [look, axis, logarithmic, smoothing > 0, scheme, heightPx, syncKey]);

  useEffect(() => {
    const made = plot.current;
    if (made === null || made.data === data) return;
    const { min, max } = made.scales['x'] ?? {};
    const xs = made.data[0];
    const zoomed = xs.length > 1 && (min !== xs[0] || max !== xs.at(-1));
    made.setData(data, !zoomed);
    if (zoomed) made.redraw();
  }, [data]);

  return <div ref={host} className={styles.plot} style={{ height: heightPx }} />;
}

function joined(series: readonly PlotSeries[], unit: number, how: PlotOptions): uPlot.AlignedData {
  const shaped = (values: (number | null)[]) => {
    const shown = how.logarithmic ? positive(values) : values;
    return unit === 1 ? shown : shown.map((value) => value && value / unit);
  };
  const tables = series.map(({ line }): uPlot.AlignedData => [
    line.x,
    shaped(line.y),
    shaped(smoothed(line.y, how.smoothing)),
    shaped(line.low),
    shaped(line.high),
  ]);
  return tables.length === 0 ? [[]] : uPlot.join(tables);
}

interface Settings extends PlotOptions {
  series: readonly PlotSeries[];
  latest: () => { series: readonly PlotSeries[]; unit: number };
  dark: boolean;
  widthPx: number;
  heightPx: number;
  syncKey: string | undefined;
}

function options(settings: Settings): uPlot.Options {
  const { series, axis, logarithmic, smoothing, dark, widthPx, heightPx, syncKey } = settings;
  const axes = axisLook(dark);
  return {
    width: Math.max(widthPx, 50),
    height: heightPx,
    legend: { show: false },
    padding: [10, 12, 0, 0],
    cursor: {
      y: false,
      points: { size: 7 },
      drag: { x: true, y: false, setScale: true },
      ...(syncKey === undefined ? {} : { sync: { key: syncKey } }),
    },
    scales: {
      x: { time: axis === 'wall' },
      y: logarithmic ? { distr: 3 } : { range: { min: { pad: 0.08, soft: 0, mode: 3 }, max: { pad: 0.08, soft: 0, mode: 3 } } },
    },
    axes: [
      { ...axes, size: 30, space: TICK_SPACE_PX[axis], values: TICKS[axis] },
      {
        ...axes,
        size: (_plot, labels) => Math.max(58, labelPx(labels ?? [])),
        // A logarithmic axis has ticks without a label: `null`.
        values: (_plot, ticks) => labelled(ticks, (tick) => tick !== null, settings.latest().unit),
      },
    ],
    series: [{}, ...series.flatMap((one) => drawn(one, smoothing > 0))],
    bands: series.flatMap((one, at) =>
      one.line.banded
        ? [{ series: [at * COLUMNS + 4, at * COLUMNS + 3] as [number, number], fill: alpha(one.color, 0.14) }]
        : [],
    ),
    hooks: {
      draw: [(plot) => drawOdd(plot, settings.latest().series, dark)],
      ...tooltip(settings),
    },
  };
}

/** How the axes of every plot look. */
export function axisLook(dark: boolean): uPlot.Axis {
  const grid = { stroke: dark ? '#1d2a32' : '#e8eef0', width: 1 };
  return {
    stroke: dark ? '#8fa0a8' : '#566970',
    grid,
    ticks: { ...grid, size: 4 },
    font: '11px system-ui, sans-serif',
  };
}

function drawn({ label, color, line }: PlotSeries, smooth: boolean): uPlot.Series[] {
  const hidden: uPlot.Series = { stroke: 'transparent', width: 0, points: { show: false } };
  const lonely = line.x.length === 1;
  return [
    {
      label,
      stroke: smooth ? alpha(color, 0.28) : color,
      width: smooth ? 1 : 1.6,
      points: { show: lonely || line.x.length < 12, size: 5, fill: color, stroke: color },
    },
    smooth
      ? { label: `${label}, smoothed`, stroke: color, width: 1.8, points: { show: lonely, size: 5 } }
      : { ...hidden, show: false },
    { ...hidden, show: line.banded },
    { ...hidden, show: line.banded },
  ];
}

export function alpha(hex: string, opacity: number): string {
  const channel = (at: number) => Number.parseInt(hex.slice(at, at + 2), 16);
  return `rgba(${channel(1)}, ${channel(3)}, ${channel(5)}, ${opacity})`;
}

const TICKS: Record<Axis, uPlot.Axis.DynamicValues> = {
  relative: (_plot, ticks) => ticks.map((tick) => (tick === 0 ? '0' : shownDuration(tick))),
  step: (_plot, ticks) => labelled(ticks, Number.isInteger),
  wall: (_plot, ticks, _at, _space, stepS) => ticks.map((tick) => shownTick(tick, stepS)),
};

const TICK_SPACE_MIN_PX = 50;

/** How far apart the ticks of the horizontal axis must be, so that none is written over the next. */
const TICK_SPACE_PX: Record<Axis, uPlot.Axis.Space> = {
  relative: (_plot, _at, min, max) => spacePx([min, max].map(shownDuration)),
  step: (_plot, _at, min, max) => {
    const somewhere = [0, 0.25, 0.5, 0.75, 1].map((part) => Math.round(min + (max - min) * part));
    return spacePx(shownTicks(somewhere));
  },
  wall: TICK_SPACE_MIN_PX,
};

function spacePx(labels: readonly string[]): number {
  return Math.max(TICK_SPACE_MIN_PX, labelPx(labels));
}

/** Room for the longest of these, in the font of axes. */
function labelPx(labels: readonly string[]): number {
  return 14 + 6.4 * Math.max(...labels.map((label) => label.length));
}

/** Labels of those ticks that get one. */
function labelled(ticks: readonly number[], wanted: (tick: number) => boolean, unit = 1): string[] {
  const chosen = ticks.filter(wanted);
  const labels = new Map(shownTicks(chosen.map((tick) => tick * unit)).map((label, at) => [chosen[at], label]));
  return ticks.map((tick) => labels.get(tick) ?? '');
}

/** Crosses along the bottom where NaN or an infinite value was logged. */
function drawOdd(plot: uPlot, series: readonly PlotSeries[], dark: boolean): void {
  const { ctx, bbox } = plot;
  const arm = 3.5 * devicePixelRatio;
  const y = bbox.top + bbox.height - arm - 2 * devicePixelRatio;
  ctx.save();
  ctx.strokeStyle = dark ? '#ff7b7b' : '#c02626';
  ctx.lineWidth = 1.5 * devicePixelRatio;
  ctx.beginPath();
  for (const { line } of series) {
    for (const value of line.odd) {
      const x = plot.valToPos(value, 'x', true);
      if (x < bbox.left || x > bbox.left + bbox.width) continue;
      ctx.moveTo(x - arm, y - arm);
      ctx.lineTo(x + arm, y + arm);
      ctx.moveTo(x + arm, y - arm);
      ctx.lineTo(x - arm, y + arm);
    }
  }
  ctx.stroke();
  ctx.restore();
}

function shownX(x: number, axis: Axis): string {
  if (axis === 'step') return `step ${thousands(x)}`;
  return axis === 'wall' ? shownTime(x * 1e9) : `after ${shownDuration(x)}`;
}

/** A box that follows the pointer. It is filled by `textContent` only. */
function tooltip(settings: Settings): Pick<uPlot.Hooks.Arrays, 'init' | 'setCursor'> {
  const box = document.createElement('div');
  box.className = styles.tooltip ?? '';
  box.hidden = true;
  let pointed = false; // the pointer is here, not over a plot that points at the same place
  return {
    init: [
      (plot) => {
        plot.over.append(box);
        plot.over.addEventListener('mouseenter', () => (pointed = true));
        plot.over.addEventListener('mouseleave', () => {
          pointed = false;
          box.hidden = true;
        });
      },
    ],
    setCursor: [
      (plot) => {
        const { left = -1, idx } = plot.cursor;
        const x = idx === null || idx === undefined ? undefined : plot.data[0][idx];
        box.hidden = !pointed || left < 0 || x === undefined;
        if (box.hidden || x === undefined) return;
        box.replaceChildren(row(shownX(x, settings.axis)), ...tooltipRows(x, settings));
        const widthPx = box.offsetWidth;
        const fits = left + 14 + widthPx <= plot.over.clientWidth;
        box.style.left = `${fits ? left + 14 : Math.max(-50, left - 14 - widthPx)}px`;
      },
    ],
  };
}

function tooltipRows(x: number, settings: Settings): HTMLElement[] {
  const { series } = settings.latest();
  return series.flatMap((one) => {
    const at = nearest(one.line.x, x);
    const ended = x < (one.line.x[0] ?? Infinity) || x > (one.line.x.at(-1) ?? -Infinity);
    if (at === -1 || ended) return [];
    return [row(valueAt(one.line, at), one.color, series.length > 1 ? one.label : undefined)];
  });
}

function valueAt(line: Line, at: number): string {
  const [value, low, high] = [line.y[at], line.low[at], line.high[at]];
  const odd = line.odd.includes(line.x[at] ?? Number.NaN);
  const main = value === null || value === undefined ? 'not a finite number' : shownNumber(value);
  const band = low !== high && typeof low === 'number' && typeof high === 'number';
  const range = band ? `  (${shownNumber(low)} … ${shownNumber(high)})` : '';
  return `${main}${range}${odd && value !== null ? '  ×' : ''}`;
}

/** Index of the value next to x; -1 in an empty list. */
function nearest(xs: readonly number[], x: number): number {
  let best = -1;
  let distance = Infinity;
  for (let at = 0; at < xs.length; at += 1) {
    const here = Math.abs((xs[at] ?? Infinity) - x);
    if (here < distance) [best, distance] = [at, here];
  }
  return best;
}

function row(text: string, color?: string, label?: string): HTMLElement {
  const line = document.createElement('div');
  if (color !== undefined) {
    const dot = document.createElement('i');
    dot.style.background = color;
    line.append(dot);
  }
  if (label !== undefined) {
    const name = document.createElement('span');
    name.textContent = label;
    line.append(name);
  }
  const value = document.createElement('b');
  value.textContent = text;
  line.append(value);
  return line;
}
