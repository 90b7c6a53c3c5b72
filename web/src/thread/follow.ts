// A surface that scrolls stays at its end while more comes, unless its reader has scrolled up; then it stays put.

import { type RefObject, useCallback, useLayoutEffect, useRef, useState } from "react";

const NEAR_END = 40;

export interface Following {
  /** Whether the end is followed; changes without a render. */
  now: RefObject<boolean>;
  /** Whether the end is in sight. */
  atEnd: boolean;
  toEnd: () => void;
}

/** scroller: what scrolls; its first child is what grows. */
export function useFollow(scroller: RefObject<HTMLElement | null>, active = true): Following {
  const now = useRef(true);
  const [atEnd, setAtEnd] = useState(true);

  useLayoutEffect(() => {
    const element = scroller.current;
    if (!element || !active) return;
    let top = element.scrollTop;
    let height = element.scrollHeight;

    function pin() {
      if (now.current) element!.scrollTop = element!.scrollHeight;
      look();
    }

    function look() {
      const { scrollTop, scrollHeight, clientHeight } = element!;
      const isNear = scrollHeight - scrollTop - clientHeight < NEAR_END;
      // What shrinks moves the surface too, without anybody having scrolled.
      if (isNear) now.current = true;
      else if (scrollTop < top - 1 && scrollHeight >= height) now.current = false;
      top = scrollTop;
      height = scrollHeight;
      // The browser's own anchoring keeps the place of a reader who does not follow, and fights with one who does.
      element!.style.setProperty("overflow-anchor", now.current ? "none" : "auto");
      setAtEnd(isNear);
    }

    const observer = new ResizeObserver(pin);
    observer.observe(element);
    if (element.firstElementChild) observer.observe(element.firstElementChild);
    element.addEventListener("scroll", look, { passive: true });
    pin();
    return () => {
      observer.disconnect();
      element.removeEventListener("scroll", look);
    };
  }, [scroller, active]);

  const toEnd = useCallback(() => {
    now.current = true;
    scroller.current?.scrollTo({ top: scroller.current.scrollHeight });
  }, [scroller]);

  return { now, atEnd, toEnd };
}
