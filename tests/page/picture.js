(() => {
  // A site on a bad night, for the picture in the docs: what mailferry would tell of it, without the hours that it takes.
  if (stream) { const mine = stream; stream = null; mine.abort(); }
  const port = (protocol, state, since_s, greeting_ms, reason) => ({ protocol, port: protocol === "imap" ? 143 : 110, state, since_s, reason: reason || null, held_back: false, greeting_ms });
  const well = since => [port("imap", "in-service", since, 2.1 + since % 7 / 3), port("pop3", "in-service", since, 1.8 + since % 5 / 3)];
  const refused = "cannot connect: Connection refused (os error 111)";
  const down = [port("imap", "down", 252, 2.4, refused), port("pop3", "down", 249, 1.9, refused)];
  const slow = [port("imap", "suspect", 41, 184.2, "no greeting in time"), port("pop3", "in-service", 950400, 3.1)];
  const node = (island, name, sessions, protocols, operator) => ({ name, host: `${name}.${island}.example.net`, operator: operator || "in-service", configured: "in-service", sessions, protocols });
  const island = (name, policy, ...nodes) => ({ name, policy, nodes: nodes.map(it => node(name, ...it)) });
  const islands = [
    island("north", "prefer", ["left", 0, down], ["right", 8114, well(950400)]),
    island("south", "balance", ["left", 4087, slow], ["right", 4102, well(950402)]),
    island("archive", "sticky", ["left", 312, well(950401), "draining"], ["right", 655, well(950406)]),
  ];
  const curve = (peak, at, kind) => Array.from({ length: 60 }, (_, step) => {
    const noise = Math.abs(Math.sin(step * 12.9898 + at * 78.233) * 43758.5453) % 1, level = peak * (0.6 + 0.4 * noise);
    if (kind === "dies") return Math.round(step < 10 ? level : 0);
    if (kind === "takes over") return Math.round(step < 10 ? level / 2 : level * (step < 14 ? 1.6 : 1));
    return Math.round(level);
  });
  const curves = { step_s: 5, nodes: [["north/left", 60, 1, "dies"], ["north/right", 118, 2, "takes over"], ["south/left", 52, 3], ["south/right", 55, 4], ["archive/left", 0, 5], ["archive/right", 9, 6]].map(([node, ...it]) => ({ node, logins: curve(...it) })) };
  const ago = s => new Date(Date.now() - s * 1000).toISOString();
  const failure = (s, times, user, client, stage, why, reason, island, node, whose, protocol) => ({ last: ago(s), first: ago(s + times * 3), times, whose: whose || "site", session: "6b02e93e-" + (90210 - s).toString(16), user, client, protocol: protocol || "imap", stage, why, reason, island, node });
  const failures = [
    failure(4, 1, "m.lindqvist", "198.51.100.24", "replay", "node-failed", "left: no greeting in time; right: closed without an answer to the login", "south", "right"),
    failure(31, 3, "build-bot@example.net", "203.0.113.9", "directory", "directory-unavailable", "the directory is not available", null, null),
    failure(58, 1, null, "192.0.2.77", "relay", "broken", null, "north", "left"),
    failure(251, 214, "schulze", "192.0.2.10", "connect", "node-failed", "left: cannot connect: Connection refused (os error 111)", "north", "left", "site", "pop3"),
    failure(9, 41, "admin", "203.0.113.200", "directory", "unknown-user", "no such user", null, null, "client"),
    failure(12, 2, "o.petrova", "198.51.100.80", "replay", "wrong-password", "refused by the node", "south", "left", "client"),
  ];
  hear({
    ...now, may_order: true, islands, curves, failures,
    status: { ...now.status, uptime_s: 950460, since: ago(950460).slice(0, 19) + "Z", pid: 1741, rights: { ...now.status.rights, user: "mailferry", files: "written only below \"/var/lib/mailferry\", none is executed (Landlock 7)" }, sessions: 17270, logins_last_minute: 2861, config: "/etc/mailferry/proxy.toml", state_file: "/var/lib/mailferry/operator.json",
      directory: [{ name: "ldaps://ldap1.example.net", available: false, reason: "no answer in time" }, { name: "ldaps://ldap2.example.net", available: true, reason: null }],
      cache: { users: 48211, capacity: 200000, lookups_last_minute: 2994, served_last_minute: 2917 } },
  });
  say($("about"), now.status.version + " · mail1.example.net:8443");
  linked = true; heard = Date.now() + 3600000;
})()
