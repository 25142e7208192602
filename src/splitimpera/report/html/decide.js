"use strict";
/*
 * qos/recommendation.py over again, for limits that the reader sets: margins, verdicts and their order.
 *
 * plan: {id, stable, possible, metrics: {name: value}, intervals: {name: [low, high]}}; null stands for no finite value.
 * requirement: {metric, limit, upper, weight}; weight null: hard. quality: {metric, upper}.
 */
const decide = (() => {
  const CERTAINTIES = ["certain", "likely", "unlikely"];
  const NEEDS_STABILITY = /^(fps$|latency_|on_time_)/;

  const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);
  const ascending = (numbers) => [...numbers].sort((a, b) => a - b);

  function meets({ upper, limit }, value) {
    return value !== null && (upper ? value <= limit : value >= limit);
  }

  function judge(plan, requirement) {
    const { metric, limit, upper } = requirement;
    const value = plan.metrics[metric] ?? null;
    const [low, high] = plan.intervals[metric] ?? [value, value];
    const distance = upper ? limit - value : value - limit;
    let margin = value === null ? -Infinity : distance / limit;
    const unstable = !plan.stable && NEEDS_STABILITY.test(metric);
    // too few frames a second is a miss by so much; all else has no end
    const endless = unstable && (metric !== "fps" || margin >= 0);
    if (endless) margin = Math.min(margin, -1);
    let certainty = "unlikely";
    if (!unstable && meets(requirement, value)) {
      certainty = meets(requirement, upper ? high : low) ? "certain" : "likely";
    }
    return { requirement, value, margin, endless, certainty, met: !endless && meets(requirement, value) };
  }

  function verdictOf(plan, requirements, quality) {
    const judgements = requirements.map((requirement) => judge(plan, requirement));
    const hard = judgements.filter((judgement) => judgement.requirement.weight === null);
    const soft = judgements.filter((judgement) => judgement.requirement.weight !== null);
    const misses = hard.filter((judgement) => !judgement.met);
    const worst = Math.max(0, ...hard.map((judgement) => CERTAINTIES.indexOf(judgement.certainty)));
    const value = plan.metrics[quality.metric];
    const p95 = plan.metrics.latency_p95;
    const good = value === null ? -Infinity : quality.upper ? -value : value;
    const quick = !plan.stable || p95 === null ? -Infinity : -p95;
    return {
      id: plan.id,
      plan,
      judgements,
      misses,
      softMisses: soft.filter((judgement) => !judgement.met),
      feasible: plan.possible && misses.length === 0,
      hopeless: !plan.stable && misses.some((judgement) => NEEDS_STABILITY.test(judgement.requirement.metric)),
      penalty: sum(soft.map((judgement) => judgement.requirement.weight * Math.max(0, -judgement.margin))),
      score: Math.min(...(hard.length ? hard : judgements).map((judgement) => judgement.margin)),
      certainty: plan.possible ? CERTAINTIES[worst] : "unlikely",
      objectives: [...judgements.map((judgement) => judgement.margin), good, quick],
      pareto: false,
    };
  }

  /* Numbers by which plans are ordered: smaller is better, the first that differ decide. */
  function rankOf(verdict) {
    const { judgements, objectives, plan } = verdict;
    const hard = judgements.filter((judgement) => judgement.requirement.weight === null);
    const leximin = (judged) => ascending(judged.map((judgement) => judgement.margin)).map((margin) => -margin);
    const last = [...objectives.slice(-2).map((objective) => -objective), plan.metrics.payload_bytes];
    if (verdict.feasible) return [0, verdict.penalty, ...leximin(judgements), ...last];
    const kind = !plan.possible ? 2 : verdict.hopeless ? 1 : 0;
    return [1, kind, ...leximin(hard), verdict.penalty, ...last];
  }

  function before(a, b) {
    const place = a.rank.findIndex((number, i) => number !== b.rank[i]);
    if (place >= 0) return a.rank[place] < b.rank[place] ? -1 : 1;
    return a.verdict.id < b.verdict.id ? -1 : 1;
  }

  function dominates(a, b) {
    return a.every((objective, i) => objective >= b[i]) && a.some((objective, i) => objective > b[i]);
  }

  /* The verdicts on all plans, best first; the first is the choice if it is feasible. */
  return (plans, requirements, quality) => {
    const verdicts = plans.map((plan) => verdictOf(plan, requirements, quality));
    const possible = verdicts.filter((verdict) => verdict.plan.possible);
    for (const verdict of possible) {
      verdict.pareto = !possible.some((other) => dominates(other.objectives, verdict.objectives));
    }
    const ranked = verdicts.map((verdict) => ({ verdict, rank: rankOf(verdict) }));
    return ranked.sort(before).map(({ verdict }) => verdict);
  };
})();
