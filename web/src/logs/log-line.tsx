import { memo, type CSSProperties } from 'react';

import { grouped, shownClock } from '../format/format';
import { markHits, parseAnsi, type Segment } from './ansi';
import type { LogRow } from './log-window';
import styles from './logs.module.css';

/** Characters of a line that are put on the page; the rest is behind a button. */
export const SHOWN_CHARS_MAX = 2000;

interface Props {
  row: LogRow;
  numbers: boolean;
  times: boolean;
  search: string;
  current: boolean;
  onWhole: (row: LogRow) => void;
  onNumber: (number: number) => void;
}

export const LogLineView = memo(function LogLineView(props: Props) {
  const { row, numbers, times, search, current } = props;
  if (row.kind === 'missing') {
    return (
      <div className={styles.missing} role="row">
        <span role="cell">
          {row.from === row.to
            ? `line ${grouped(row.from)} missing`
            : `lines ${grouped(row.from)}–${grouped(row.to)} missing`}
        </span>
      </div>
    );
  }
  const { line } = row;
  const rest = row.text.length - SHOWN_CHARS_MAX;
  return (
    <div
      role="row"
      className={styles.line}
      data-stream={line.stream}
      data-line={line.number}
      data-current={current || undefined}
    >
      {numbers && (
        <button
          type="button"
          role="cell"
          tabIndex={-1}
          className={styles.number}
          title={`Link to line ${line.number}`}
          onClick={() => props.onNumber(line.number)}
        >
          {line.number}
        </button>
      )}
      {times && (
        <span role="cell" className={styles.time}>
          {shownClock(line.time_ns)}
        </span>
      )}
      <span role="cell" className={styles.text}>
        {row.replaced > 0 && (
          <span className={styles.replaced} title={`${grouped(row.replaced)} earlier states are not shown`}>
            ↻
          </span>
        )}
        <Coloured text={rest > 0 ? row.text.slice(0, SHOWN_CHARS_MAX) : row.text} search={search} />
        {rest > 0 && (
          <button type="button" className={styles.whole} onClick={() => props.onWhole(row)}>
            … {grouped(rest)} more characters
          </button>
        )}
        {line.continued && <span className={styles.replaced} title="The next line goes on with this one">↩</span>}
      </span>
    </div>
  );
});

function Coloured({ text, search }: { text: string; search: string }) {
  return markHits(parseAnsi(text), search).map((segment, at) => {
    const look = lookOf(segment);
    const shown = segment.hit === undefined ? segment.text : <mark>{segment.text}</mark>;
    return look === undefined && segment.hit === undefined ? (
      segment.text
    ) : (
      <span key={at} style={look}>
        {shown}
      </span>
    );
  });
}

function lookOf({ style }: Segment): CSSProperties | undefined {
  if (Object.keys(style).length === 0) return undefined;
  let color = paint(style.color);
  let background = paint(style.background);
  if (style.inverse) [color, background] = [background ?? 'var(--sf-log)', color ?? 'var(--sf-log-text)'];
  const look: CSSProperties = {};
  if (color !== undefined) look.color = color;
  if (background !== undefined) look.background = background;
  if (style.bold) look.fontWeight = 700;
  if (style.dim) look.opacity = 0.65;
  if (style.italic) look.fontStyle = 'italic';
  if (style.underline) look.textDecoration = 'underline';
  return look;
}

function paint(color: number | string | undefined): string | undefined {
  return typeof color === 'number' ? `var(--ansi-${color})` : color;
}
