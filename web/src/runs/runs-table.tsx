import { Checkbox, Loader } from '@mantine/core';
import {
  flexRender,
  getCoreRowModel,
  useReactTable,
  type ColumnDef,
  type Header,
  type RowSelectionState,
} from '@tanstack/react-table';
import { useVirtualizer } from '@tanstack/react-virtual';
import { useEffect, useMemo, useRef } from 'react';
import { useLocation } from 'wouter';

import type { RunView } from '../api/types';
import { Icon } from '../shell/icons';
import type { RunColumn } from './columns';
import { directionOf, nextOrder } from './filter';
import styles from './runs-table.module.css';

const ROW_PX = 37;
const LOAD_AHEAD_ROWS = 20;

interface Props {
  runs: readonly RunView[];
  columns: readonly RunColumn[];
  selection: RowSelectionState;
  onSelect: (selection: RowSelectionState) => void;
  order: string | null;
  onOrder: (order: string | null) => void;
  hasMore: boolean;
  loadingMore: boolean;
  loadMore: () => void;
}

/** The runs as rows, of which only those on screen are in the page. */
export function RunsTable(props: Props) {
  const { runs, columns, selection, onSelect, hasMore, loadingMore, loadMore } = props;
  const scroller = useRef<HTMLDivElement>(null);
  const [, navigate] = useLocation();
  const definitions = useMemo(() => columns.map(definitionOf), [columns]);
  const table = useReactTable({
    data: runs as RunView[],
    columns: definitions,
    state: { rowSelection: selection },
    onRowSelectionChange: (change) =>
      onSelect(typeof change === 'function' ? change(selection) : change),
    getRowId: (run) => run.id,
    getCoreRowModel: getCoreRowModel(),
    columnResizeMode: 'onChange',
    defaultColumn: { minSize: 60 },
  });
  const rows = table.getRowModel().rows;
  const virtual = useVirtualizer({
    count: rows.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => ROW_PX,
    overscan: 12,
  });
  const items = virtual.getVirtualItems();
  const lastShown = items.at(-1)?.index ?? 0;
  useEffect(() => {
    if (hasMore && !loadingMore && lastShown >= rows.length - LOAD_AHEAD_ROWS) loadMore();
  }, [hasMore, loadingMore, lastShown, rows.length, loadMore]);

  const widthPx = table.getTotalSize() + 44;
  return (
    <div ref={scroller} className={styles.scroller} tabIndex={0} role="region" aria-label="Runs">
      <div role="table" aria-rowcount={hasMore ? -1 : rows.length + 1} style={{ minWidth: widthPx }}>
        <div role="rowgroup" className={styles.head}>
          <div role="row" className={styles.row}>
            <div role="columnheader" className={styles.check}>
              <Checkbox
                size="xs"
                aria-label="Select all runs shown"
                checked={rows.length > 0 && table.getIsAllRowsSelected()}
                indeterminate={table.getIsSomeRowsSelected()}
                onChange={table.getToggleAllRowsSelectedHandler()}
              />
            </div>
            {table.getFlatHeaders().map((header, index) => (
              <HeadCell
                key={header.id}
                header={header}
                column={columns[index]}
                order={props.order}
                onOrder={props.onOrder}
              />
            ))}
          </div>
        </div>
        <div role="rowgroup" className={styles.body} style={{ height: virtual.getTotalSize() }}>
          {items.map((item) => {
            const row = rows[item.index];
            if (!row) return null;
            return (
              <div
                key={row.id}
                role="row"
                aria-rowindex={item.index + 2}
                aria-selected={row.getIsSelected()}
                className={styles.row}
                data-run={row.id}
                style={{ transform: `translateY(${item.start}px)` }}
                onDoubleClick={() => navigate(`/runs/${row.id}`)}
              >
                <div role="cell" className={styles.check}>
                  <Checkbox
                    size="xs"
                    aria-label={`Select ${row.original.name}`}
                    checked={row.getIsSelected()}
                    onChange={row.getToggleSelectedHandler()}
                  />
                </div>
                {row.getVisibleCells().map((cell, index) => (
                  <div
                    key={cell.id}
                    role="cell"
                    className={styles.cell}
                    data-numeric={columns[index]?.numeric}
                    style={{ width: cell.column.getSize() }}
                  >
                    {flexRender(cell.column.columnDef.cell, cell.getContext())}
                  </div>
                ))}
              </div>
            );
          })}
        </div>
      </div>
      {loadingMore && (
        <div className={styles.more} role="status">
          <Loader size="xs" type="dots" aria-label="Loading more runs" />
        </div>
      )}
    </div>
  );
}

function definitionOf(column: RunColumn): ColumnDef<RunView> {
  return {
    id: column.id,
    header: column.label,
    size: column.widthPx,
    cell: (context) => column.cell(context.row.original),
  };
}

interface HeadProps {
  header: Header<RunView, unknown>;
  column: RunColumn | undefined;
  order: string | null;
  onOrder: (order: string | null) => void;
}

function HeadCell({ header, column, order, onOrder }: HeadProps) {
  if (column === undefined) return null;
  const direction = column.order === undefined ? 'none' : directionOf(column.order, order);
  return (
    <div
      role="columnheader"
      className={styles.headCell}
      data-numeric={column.numeric}
      aria-sort={direction}
      style={{ width: header.getSize() }}
    >
      {column.order === undefined ? (
        <span className={styles.label}>{column.label}</span>
      ) : (
        <button
          type="button"
          className={styles.sort}
          title={`Order by ${column.label}`}
          onClick={() => onOrder(nextOrder(column.order ?? '', order))}
        >
          <span className={styles.label}>{column.label}</span>
          {direction !== 'none' && <Icon name={direction === 'ascending' ? 'up' : 'down'} size={13} />}
        </button>
      )}
      <span
        aria-hidden="true"
        className={styles.grip}
        onMouseDown={header.getResizeHandler()}
        onTouchStart={header.getResizeHandler()}
        onDoubleClick={() => header.column.resetSize()}
      />
    </div>
  );
}
