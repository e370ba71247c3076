// Allocations: which one concerns a task or a crew now, and the routes they drive.

const OPEN = new Set(["proposed", "accepted"]);

/** The newest open allocation of a task such as `case/<id>`, undefined without one. */
export function allocationOf(city, task) {
  return newest(city.list("allocations").filter((a) => a.task === task && OPEN.has(a.state)));
}

function newest(allocations) {
  return allocations.reduce(
    (best, one) => (!best || one.proposed_at > best.proposed_at ? one : best),
    undefined,
  );
}

/** Routes of all open allocations; `driving`: the crew is on it, else it is only proposed. */
export function routesOf(city) {
  const units = city.of("units");
  return city.list("allocations").filter((a) => OPEN.has(a.state) && a.route.length).map((a) => {
    const state = units.get(a.unit)?.state;
    return {
      unit: a.unit,
      thing: a.task.slice(a.task.indexOf("/") + 1),
      segments: a.route,
      driving: a.state !== "proposed" && (state === "en_route" || state === "assigned"),
    };
  });
}
