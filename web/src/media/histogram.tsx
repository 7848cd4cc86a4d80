import { useComputedColorScheme } from '@mantine/core';
import { useEffect, useRef } from 'react';
import uPlot from 'uplot';

import { colorOf } from '../charts/palette';
import { alpha, axisLook } from '../charts/plot';
import { counted, shownNumber } from '../format/format';

const HEIGHT_PX = 210;

interface Props {
  edges: readonly number[];
  counts: readonly number[];
  odd: number;
}

/** How values are spread: a step from each edge to the next. */
export function HistogramView({ edges, counts, odd }: Props) {
  const host = useRef<HTMLDivElement>(null);
  const scheme = useComputedColorScheme('light');
  const values = counts.reduce((sum, count) => sum + count, 0);
  useEffect(() => {
    const element = host.current;
    if (element === null) return;
    // A step holds until the next edge, so the last count is there twice.
    const data: uPlot.AlignedData = [[...edges], [...counts, counts.at(-1) ?? 0]];
    const made = new uPlot(options(scheme === 'dark', element.clientWidth), data, element);
    const observer = new ResizeObserver(() => {
      if (element.clientWidth > 0) made.setSize({ width: element.clientWidth, height: HEIGHT_PX });
    });
    observer.observe(element);
    return () => {
      observer.disconnect();
      made.destroy();
    };
  }, [edges, counts, scheme]);
  const range = `${shownNumber(edges[0])} to ${shownNumber(edges.at(-1))}`;
  const said = `${counted(values, 'value')} from ${range}${odd > 0 ? `, and ${counted(odd, 'value')} NaN or infinite` : ''}`;
  return (
    <figure style={{ margin: 0 }} aria-label={`Histogram: ${said}`} data-bins={counts.length} data-values={values}>
      <div ref={host} style={{ height: HEIGHT_PX }} />
      <figcaption>{said}</figcaption>
    </figure>
  );
}

function options(dark: boolean, widthPx: number): uPlot.Options {
  const axes = axisLook(dark);
  const color = colorOf(0);
  const shown: uPlot.Axis.DynamicValues = (_plot, ticks) => ticks.map((tick) => shownNumber(tick));
  const stepped = uPlot.paths.stepped?.({ align: 1 });
  return {
    width: Math.max(widthPx, 50),
    height: HEIGHT_PX,
    legend: { show: false },
    padding: [10, 12, 0, 0],
    cursor: { show: false },
    scales: { x: { time: false }, y: { range: (_plot, _min, max) => [0, max > 0 ? max * 1.08 : 1] } },
    axes: [
      { ...axes, size: 30, values: shown },
      { ...axes, size: 58, values: shown },
    ],
    series: [
      {},
      {
        stroke: color,
        fill: alpha(color, 0.3),
        width: 1,
        points: { show: false },
        ...(stepped === undefined ? {} : { paths: stepped }),
      },
    ],
  };
}
