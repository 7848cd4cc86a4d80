import { Button, Modal, Text } from '@mantine/core';
import { useVirtualizer } from '@tanstack/react-virtual';
import { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from 'react';

import { plainText } from './ansi';
import { LogLineView, SHOWN_CHARS_MAX } from './log-line';
import { rowOfLine, type LogRow } from './log-window';
import styles from './logs.module.css';

const ROW_PX = 20;
const NEAR_EDGE_PX = 600;

interface Props {
  rows: readonly LogRow[];
  numbers: boolean;
  times: boolean;
  search: string;
  following: boolean;
  onFollowing: (following: boolean) => void;
  /** Line to show; a new object shows it again. */
  shown: { line: number } | null;
  loadBefore: () => void;
  loadAfter: () => void;
  /** The window takes no more without letting go of something. */
  full: boolean;
  onNumber: (number: number) => void;
}

/** Rows of a log, of which only those on screen are in the page. */
export function LogRows(props: Props) {
  const { rows, following, onFollowing, shown, loadBefore, loadAfter, full } = props;
  const scroller = useRef<HTMLDivElement>(null);
  const [whole, setWhole] = useState<LogRow | null>(null);
  const virtual = useVirtualizer({
    count: rows.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => ROW_PX,
    overscan: 25,
  });
  const digits = String(lastNumber(rows)).length;
  const widest = useMemo(() => widestChars(rows), [rows]);
  const keepPlace = usePlace(scroller, rows, following);

  useEffect(() => {
    if (shown === null || rows.length === 0) return;
    virtual.scrollToIndex(rowOfLine(rows, shown.line), { align: 'center' });
    // Only when another line is asked for, not whenever rows come.
  }, [shown]);

  // Few rows leave nothing to scroll: fill the screen, unless progress bars make rows of thousands.
  useEffect(() => {
    const height = scroller.current?.clientHeight ?? 0;
    if (full || rows.length * ROW_PX > height) return;
    loadAfter();
    loadBefore();
  }, [rows, full, loadAfter, loadBefore]);

  const onScroll = useCallback(() => {
    const element = scroller.current;
    if (element === null) return;
    let below = element.scrollHeight - element.scrollTop - element.clientHeight;
    if (keepPlace.following && below > 2 * ROW_PX) {
      if (keepPlace.movedByUser(element)) {
        onFollowing(false);
      } else {
        element.scrollTop = element.scrollHeight;
        below = 0;
      }
    }
    keepPlace.note(element);
    if (element.scrollTop < NEAR_EDGE_PX) loadBefore();
    if (below < NEAR_EDGE_PX) loadAfter();
  }, [keepPlace, loadAfter, loadBefore, onFollowing]);

  return (
    <>
      <div
        ref={scroller}
        className={styles.scroller}
        onScroll={onScroll}
        onWheel={keepPlace.touched}
        onTouchMove={keepPlace.touched}
        onPointerDown={keepPlace.touched}
        onKeyDown={keepPlace.touched}
        tabIndex={0}
        role="region"
        aria-label="Log lines"
        style={{ '--digits': `${Math.max(3, digits)}ch` }}
      >
        <div
          role="table"
          aria-label="Log"
          className={styles.body}
          style={{ height: virtual.getTotalSize(), minWidth: `calc(${widest}ch + ${digits + 20}ch)` }}
        >
          {virtual.getVirtualItems().map((item) => {
            const row = rows[item.index];
            return row ? (
              <div
                key={row.key}
                role="presentation"
                className={styles.slot}
                style={{ transform: `translateY(${item.start}px)` }}
              >
                <LogLineView
                  row={row}
                  numbers={props.numbers}
                  times={props.times}
                  search={props.search}
                  current={row.kind === 'line' && row.line.number === shown?.line}
                  onWhole={setWhole}
                  onNumber={props.onNumber}
                />
              </div>
            ) : null;
          })}
        </div>
      </div>
      <Modal opened={whole !== null} onClose={() => setWhole(null)} size="80rem" title="The whole line">
        {whole?.kind === 'line' && (
          <>
            <Text component="pre" className={styles.wholeText}>
              {plainText(whole.text)}
            </Text>
            <Button variant="default" onClick={() => void navigator.clipboard.writeText(whole.text)}>
              Copy
            </Button>
          </>
        )}
      </Modal>
    </>
  );
}

/** Keep what is being read where it is while rows come and go around it. */
function usePlace(
  scroller: React.RefObject<HTMLDivElement | null>,
  rows: readonly LogRow[],
  following: boolean,
) {
  const anchor = useRef<{ key: number; offsetPx: number; top: number } | null>(null);
  const current = useRef(rows);
  current.current = rows;
  const place = useMemo(
    () => ({
      following: false,
      /**
       * The user's hand was on the scroller since following began. A browser moves it by itself,
       * too: a smooth scroll that began before goes on over rows that were replaced meanwhile.
       */
      byHand: false,
      touched() {
        place.byHand = true;
      },
      note(element: HTMLElement) {
        const index = Math.floor(element.scrollTop / ROW_PX);
        const row = current.current[index];
        const offsetPx = element.scrollTop - index * ROW_PX;
        anchor.current = row ? { key: row.key, offsetPx, top: element.scrollTop } : null;
      },
      /** Scrolling up is the user's; scrolling down may be ours. */
      movedByUser(element: HTMLElement): boolean {
        return place.byHand && anchor.current !== null && element.scrollTop < anchor.current.top - 1;
      },
    }),
    [],
  );
  useLayoutEffect(() => {
    place.following = following;
    place.byHand = false;
  }, [following, place]);
  useLayoutEffect(() => {
    const element = scroller.current;
    if (element === null) return;
    if (following) {
      element.scrollTop = element.scrollHeight;
    } else if (anchor.current !== null) {
      const { key, offsetPx } = anchor.current;
      const index = rows.findIndex((row) => row.key === key);
      if (index !== -1) element.scrollTop = index * ROW_PX + offsetPx;
    }
    place.note(element);
  }, [rows, following, place, scroller]);
  return place;
}

function lastNumber(rows: readonly LogRow[]): number {
  const last = rows.at(-1);
  if (last === undefined) return 0;
  return last.kind === 'line' ? last.line.number : last.to;
}

function widestChars(rows: readonly LogRow[]): number {
  let widest = 0;
  for (const row of rows) if (row.kind === 'line') widest = Math.max(widest, row.text.length);
  return Math.min(widest, SHOWN_CHARS_MAX + 30);
}
