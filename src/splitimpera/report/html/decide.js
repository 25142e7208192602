"use strict";
/*
 * qos/recommendation.py and qos/ordering.py over again, for limits that the reader sets: margins, verdicts, their order.
 *
 * plan: {id, stable, can_run, hops, energy, metrics: {name: value}, intervals: {name: [low, high]}}; null stands for no
 * finite value. requirement: {metric, limit, upper, weight}; weight null: hard. quality: {metric, upper}.
 * choice: {objective, upper, tolerance, ties}; ties: {metric: {touched: [id], tied: [[id, id]]}}, what chance touches, and
 * which pairs it makes the same.
 */
const decide = (() => {
  const CERTAINTIES = ["certain", "likely", "unlikely"];
  const NEEDS_STABILITY = /^(fps$|latency_|on_time_|ttft)/;

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
    // too few frames a second is a violation by so much; all else is unbounded
    const unbounded = unstable && (metric !== "fps" || margin >= 0);
    if (unbounded) margin = Math.min(margin, -1);
    let certainty = "unlikely";
    if (!unstable && meets(requirement, value)) {
      certainty = meets(requirement, upper ? high : low) ? "certain" : "likely";
    }
    return { requirement, value, margin, unbounded, certainty, met: !unbounded && meets(requirement, value) };
  }

  function verdictOf(plan, requirements, quality) {
    const judgements = requirements.map((requirement) => judge(plan, requirement));
    const hard = judgements.filter((judgement) => judgement.requirement.weight === null);
    const soft = judgements.filter((judgement) => judgement.requirement.weight !== null);
    const violations = hard.filter((judgement) => !judgement.met);
    const worst = Math.max(0, ...hard.map((judgement) => CERTAINTIES.indexOf(judgement.certainty)));
    const value = plan.metrics[quality.metric];
    const p95 = plan.metrics.latency_p95;
    const good = value === null ? -Infinity : quality.upper ? -value : value;
    const quick = !plan.stable || p95 === null ? -Infinity : -p95;
    return {
      id: plan.id,
      plan,
      judgements,
      violations,
      softViolations: soft.filter((judgement) => !judgement.met),
      feasible: plan.can_run && violations.length === 0,
      unsatisfiable: !plan.stable && violations.some((judgement) => NEEDS_STABILITY.test(judgement.requirement.metric)),
      penalty: sum(soft.map((judgement) => judgement.requirement.weight * Math.max(0, -judgement.margin))),
      score: Math.min(...(hard.length ? hard : judgements).map((judgement) => judgement.margin)),
      certainty: plan.can_run ? CERTAINTIES[worst] : "unlikely",
      goals: [...judgements.map((judgement) => judgement.margin), good, quick],
      pareto: false,
    };
  }

  /* What decides where nothing else does; smaller is better. */
  function lastOf({ plan }) {
    const p95 = plan.metrics.latency_p95;
    const quick = !plan.stable || p95 === null ? Infinity : p95;
    return [plan.hops, quick, plan.energy ?? Infinity, plan.metrics.payload_bytes, plan.id];
  }

  function rankOfInfeasible(verdict) {
    const hard = verdict.judgements.filter((judgement) => judgement.requirement.weight === null);
    const kind = !verdict.plan.can_run ? 2 : verdict.unsatisfiable ? 1 : 0;
    return [kind, ...leximin(hard.map((judgement) => judgement.margin)), verdict.penalty, ...lastOf(verdict)];
  }

  const leximin = (margins) => ascending(margins).map((margin) => -margin);

  function compare(a, b) {
    const place = a.findIndex((value, i) => value !== b[i]);
    return place < 0 ? 0 : a[place] < b[place] ? -1 : 1;
  }

  /* What plans are compared by, each with a value a plan (larger is better) and whether two are the same. */
  function criteriaOf(verdicts, requirements, choice) {
    const touched = {};
    const tied = {};
    for (const [metric, found] of Object.entries(choice.ties)) {
      touched[metric] = new Set(found.touched);
      tied[metric] = new Set(found.tied.map(([one, other]) => `${one} ${other}`));
    }
    const same = (metric, limit) => (one, other) => {
      const [a, b] = [one.plan, other.plan];
      if (NEEDS_STABILITY.test(metric) && !(a.stable && b.stable)) return a.id === b.id;
      const [x, y] = [a, b].map((plan) => plan.metrics[metric] ?? null);
      if (touched[metric]?.has(a.id) || touched[metric]?.has(b.id)) {
        return a.id === b.id || tied[metric].has(`${a.id} ${b.id}`) || tied[metric].has(`${b.id} ${a.id}`);
      }
      if (x === y) return true;
      if (x === null || y === null) return false;
      return Math.abs(x - y) <= choice.tolerance * (limit ?? Math.max(Math.abs(x), Math.abs(y)));
    };
    const criteria = requirements.map(({ metric, limit, weight }, place) => ({
      value: (verdict) => verdict.judgements[place].margin,
      same: same(metric, limit),
      weight,
      objective: false,
    }));
    if (choice.objective !== "balanced") {
      const { objective, upper } = choice;
      const unknown = (plan) =>
        (plan.metrics[objective] ?? null) === null || (!plan.stable && NEEDS_STABILITY.test(objective));
      const limit = requirements.find(({ metric }) => metric === objective)?.limit ?? null;
      criteria.push({
        value: ({ plan }) => (unknown(plan) ? -Infinity : plan.metrics[objective] * (upper ? -1 : 1)),
        same: same(objective, limit),
        weight: null,
        objective: true,
      });
    }
    return criteria;
  }

  /* Peels the feasible plans, best first: see qos/ordering.py. */
  function ordered(verdicts, criteria) {
    const beats = (one, other) =>
      criteria.every(({ value }) => value(one) >= value(other)) &&
      criteria.some(({ value, same }) => value(one) > value(other) && !same(one, other));
    const found = [];
    for (const certain of [true, false]) {
      let left = verdicts.filter((verdict) => (verdict.certainty === "certain") === certain);
      const beaten = new Map(left.map((verdict) => [verdict, left.filter((other) => beats(other, verdict))]));
      while (left.length) {
        const candidates = left.filter((verdict) => !beaten.get(verdict).some((other) => left.includes(other)));
        const levels = criteria.map(({ value, same }) => {
          const most = Math.max(...candidates.map(value));
          const best = candidates.filter((candidate) => value(candidate) === most);
          return (verdict) => (best.some((other) => other === verdict || same(verdict, other)) ? most : value(verdict));
        });
        const key = (verdict) => {
          let [penalty, objective] = [0, -Infinity];
          const margins = [];
          criteria.forEach((criterion, place) => {
            const level = levels[place](verdict);
            if (criterion.objective) {
              objective = level;
              return;
            }
            margins.push(level);
            if (criterion.weight !== null) penalty += criterion.weight * Math.max(0, -level);
          });
          return [penalty, -objective, ...leximin(margins), ...lastOf(verdict)];
        };
        const first = candidates.reduce((best, other) => (compare(key(other), key(best)) < 0 ? other : best));
        found.push(first);
        left = left.filter((verdict) => verdict !== first);
      }
    }
    return found;
  }

  function dominates(a, b) {
    return a.every((objective, i) => objective >= b[i]) && a.some((objective, i) => objective > b[i]);
  }

  /* The verdicts on all plans, best first; the first is the choice if it is feasible. */
  return (plans, requirements, quality, choice) => {
    const verdicts = plans.map((plan) => verdictOf(plan, requirements, quality));
    const possible = verdicts.filter((verdict) => verdict.plan.can_run);
    for (const verdict of possible) {
      verdict.pareto = !possible.some((other) => dominates(other.goals, verdict.goals));
    }
    const feasible = verdicts.filter((verdict) => verdict.feasible);
    const others = verdicts.filter((verdict) => !verdict.feasible);
    others.sort((a, b) => compare(rankOfInfeasible(a), rankOfInfeasible(b)));
    return [...ordered(feasible, criteriaOf(feasible, requirements, choice)), ...others];
  };
})();
