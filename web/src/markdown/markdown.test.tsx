// What comes out of a model's text: never anything that loads, runs or leads elsewhere unasked.

import i18next from "i18next";
import { renderToStaticMarkup } from "react-dom/server";
import { initReactI18next } from "react-i18next";
import { beforeAll, describe, expect, test } from "vitest";

import en from "../texts/en.json";
import { SourcesOf } from "../thread/Sources";
import type { Source } from "../types";
import { Prose } from "./Prose";

const SOURCES: Source[] = [{ number: 1, title: "A page", url: "https://a.example/", excerpt: "It is so.", published: "" }];

beforeAll(() => i18next.use(initReactI18next).init({ lng: "en", resources: { en: { translation: en } } }));

function html(text: string, open = false): string {
  return renderToStaticMarkup(
    <SourcesOf sources={SOURCES}>
      <Prose text={text} open={open} />
    </SourcesOf>,
  );
}

describe("hostile text", () => {
  test("raw HTML is text", () => {
    const made = html("<script>alert(1)</script> <img src=x onerror=alert(1)> <b>x</b>\n\n<iframe src=https://evil.example>");
    expect(made).not.toMatch(/<(script|img|b|iframe)/);
    expect(made).toContain("&lt;script&gt;");
  });

  test("images are links, and never loaded", () => {
    const made = html("![a cat](https://evil.example/c.png?q=1) ![](data:image/png;base64,AA) ![x](javascript:1)");
    expect(made).not.toMatch(/<img|data:|javascript:/);
    expect(made).toContain('href="https://evil.example/c.png?q=1"');
    expect(made).toContain("a cat");
  });

  test("links lead to the web and to mail only, and say where", () => {
    const made = html("[a](javascript:alert(1)) [b](/app/state) [c](https://x.example/p) [d](data:text/html,x) [e](JaVaScRiPt:x) [m](mailto:a@b.example)");
    expect(made.match(/<a /g)).toHaveLength(2);
    expect(made).toContain('<a href="https://x.example/p" target="_blank" rel="noopener noreferrer"');
    expect(made).toContain("(x.example)");
    expect(made).not.toMatch(/javascript:|\/app\/state|data:/i);
  });

  test("a link that looks like another host says its own", () => {
    expect(html("[https://bank.example](https://evil.example/)")).toContain("(evil.example)");
  });
});

describe("citations", () => {
  test("are numbered chips with the title of their source", () => {
    expect(html("So it is [citation:1].")).toMatch(/So it is<button[^>]*title="A page"[^>]*>1<\/button>\./);
  });

  test("one without a source is not there", () => {
    expect(html("So it is [citation:7].")).toBe("<p>So it is.</p>");
  });

  test("nor is half of one", () => {
    expect(html("So it is [citat", true)).toBe("<p>So it is</p>");
  });
});

describe("Markdown", () => {
  test("a line break breaks the line", () => {
    expect(html("a\nb<br>c")).toBe("<p>a<br/>\nb<br/>\nc</p>");
  });

  test("formulas reach KaTeX as they were written", () => {
    expect(html("Then $a_1 * b_1 * c$ and \\(d\\_e\\).")).toContain("<code>a_1 * b_1 * c</code>");
  });

  test("a table scrolls by itself", () => {
    expect(html("| a | b |\n|---|--:|\n| 1 | 2 |")).toContain('<div class="table" tabindex="0"><table>');
  });

  test("tasks of a list are signs with a name", () => {
    expect(html("- [x] one\n- [ ] two")).toMatch(/aria-label="done">☑<.*aria-label="to do">☐</s);
  });

  test("what is too long for the parser is plain", () => {
    expect(html("*a* ".repeat(6000))).toContain('<p class="plain">*a* *a*');
  });
});
