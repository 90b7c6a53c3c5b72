// What one reply took and cost, and what o1 would have charged for the same tokens.

import { useTranslation } from "react-i18next";

import { isHere } from "../device/store";
import type { Message } from "../types";
import { exactly } from "./duration";
import { Icon } from "./Icon";
import { Popup } from "./Popup";

export function Details({ message }: { message: Message }) {
  const { t } = useTranslation();
  return (
    <Popup label={t("thread.details")} button={<Icon name="info" />}>
      {() => <Figures message={message} />}
    </Popup>
  );
}

function Figures({ message }: { message: Message }) {
  const { t, i18n } = useTranslation();
  const { usage, model, seconds, thought_seconds, cost_usd, o1_usd } = message;
  const count = (value: number) => new Intl.NumberFormat(i18n.language).format(value);
  const rows: [string, string][] = [];
  if (model) rows.push([t("thread.model"), model]);
  if (usage) {
    rows.push([t("thread.prompt_tokens"), count(usage.prompt_tokens)]);
    if (usage.cached_tokens) rows.push([t("thread.cached_tokens"), count(usage.cached_tokens)]);
    rows.push([t("thread.thought_tokens"), count(usage.thought_tokens)]);
    rows.push([t("thread.answer_tokens"), count(usage.answer_tokens)]);
  }
  if (seconds > 0) rows.push([t("thread.seconds"), exactly(seconds, i18n.language, t)]);
  if (thought_seconds > 0) rows.push([t("thread.thought_seconds"), exactly(thought_seconds, i18n.language, t)]);
  const here = isHere(message.id);
  const speed = here && usage && seconds > 0 ? (usage.thought_tokens + usage.answer_tokens) / seconds : 0;
  if (speed > 0) rows.push([t("device.speed"), new Intl.NumberFormat(i18n.language, { maximumSignificantDigits: 3 }).format(speed)]);
  if (here) rows.push([t("thread.cost"), t("device.noCost")]);
  else rows.push([t("thread.cost"), cost_usd === null ? t("thread.cost_open") : dollars(cost_usd, i18n.language)]);
  if (o1_usd !== null) rows.push([t("thread.o1"), dollars(o1_usd, i18n.language)]);
  return (
    <dl className="figures">
      {rows.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

/** Small sums are given to two digits that say something. */
export function dollars(sum: number, language: string): string {
  const options: Intl.NumberFormatOptions = { style: "currency", currency: "USD" };
  if (sum !== 0 && Math.abs(sum) < 0.1) options.maximumSignificantDigits = 2;
  return new Intl.NumberFormat(language, options).format(sum);
}
