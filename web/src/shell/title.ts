import { useEffect } from 'react';

/** Name the browser tab. */
export function useTitle(...parts: (string | undefined)[]): void {
  const title = [...parts.filter(Boolean), 'Seafloor'].join(' · ');
  useEffect(() => {
    document.title = title;
  }, [title]);
}
