import i18next from "i18next";
import { beforeAll, describe, expect, test } from "vitest";

import { duration, measure, power } from "./format";
import { decades, everyDay, scale, type UsageReport } from "./usage";

beforeAll(() => i18next.init({ lng: "en", resources: {} }));

test("durations are said as people say them", () => {
  expect([0, 59.4, 60, 200, 3600, 7500].map(duration)).toEqual(["0 s", "59 s", "1 min 0 s", "3 min 20 s", "1 h 0 min", "2 h 5 min"]);
});

test("numbers of any size can be read", () => {
  expect(power(6.41e13)).toBe("6.41 × 10¹³");
  expect(power(-2.4e-8)).toBe("-2.4 × 10⁻⁸");
  expect([0, 0.7583, 184.2, 12_500, -2.4e-8].map(measure)).toEqual(["0", "0.758", "184", "12.5K", "-2.4 × 10⁻⁸"]);
});

describe("the plots of usage", () => {
  test("a scale reaches the most and has few lines", () => {
    for (const most of [1, 3, 7, 10, 99, 12_345, 999_999]) {
      const values = scale(most);
      expect(values[0]).toBe(0);
      expect(values.at(-1)).toBeGreaterThanOrEqual(most);
      expect(values.length).toBeLessThanOrEqual(6);
    }
  });

  test("decades are around all amounts, and there where there are none", () => {
    expect(decades([0, 0.002, 3]).map((value) => Math.log10(value))).toEqual([-3, -2, -1, 0, 1].map((value) => expect.closeTo(value)));
    expect(decades([1]).length).toBe(2);
    expect(decades([]).length).toBeGreaterThan(1);
  });

  test("every day has its place, those too of which there is no line", () => {
    const totals = {} as UsageReport["totals"];
    const row = { day: "2026-11-24", requests: 3 } as UsageReport["data"][number];
    const days = everyDay({ days: 3, by: "day", totals, data: [row] }, new Date("2026-11-25T10:00:00Z"));
    expect(days.map(({ day, requests }) => [day, requests])).toEqual([
      ["2026-11-23", 0],
      ["2026-11-24", 3],
      ["2026-11-25", 0],
    ]);
  });
});
