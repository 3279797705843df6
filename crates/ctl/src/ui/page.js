// The page of `heraldctl ui`. It reads the overview again and again, and shows what differs. Every text becomes a text node, never
// HTML; the policy of the page (Trusted Types) refuses anything else.

const PERIOD = 2000;
const READING_LIMIT = 120_000;
const MOVES = 60;
const CHIPS = 24;
const STATES = {
  used: 'used',
  shared: 'shared',
  reserved: 'reserved',
  quarantined: 'in quarantine',
  conflict: 'conflict',
  usedExternally: 'used without Herald',
  notGivenOut: 'not given out',
  free: 'free',
};
const HINT = 'Point at an address, or move among them with the arrow keys. Enter says why it is as it is.';

const $ = id => document.getElementById(id);
const SVG = 'http://www.w3.org/2000/svg';

function build(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name === 'onclick') element.addEventListener('click', value);
    else if (value === true) element.setAttribute(name, '');
    else if (value !== undefined && value !== null && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter(child => child !== null && child !== undefined && child !== false));
  return element;
}
const h = (tag, attributes, ...children) => build(document.createElement(tag), attributes, children);
const s = (tag, attributes, ...children) => build(document.createElementNS(SVG, tag), attributes, children);

const plural = (count, noun) => `${number(count)} ${noun}${count === 1 ? '' : noun.endsWith('s') ? 'es' : 's'}`;
const number = count => (count < 1e12 ? count.toLocaleString('en') : `about 2^${Math.round(Math.log2(count))}`);
const clock = time => new Date(time).toLocaleTimeString('en-GB');
const seconds = took => (took === undefined || took === null ? '' : `${took.toFixed(took < 10 ? 3 : 1)} s`);

// Replaces the content of an element if the value differs from the last one. The focus stays where it was.
const shown = new Map();
function show(id, value, make) {
  const text = JSON.stringify(value);
  if (shown.get(id) === text) return;
  shown.set(id, text);
  const element = $(id);
  const focused = element.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  element.replaceChildren(...[make(value)].flat());
  if (focused === undefined) return;
  const again = [...element.querySelectorAll('[data-key]')].find(other => other.dataset.key === focused);
  if (again?.classList.contains('cell')) rove(again);
  again?.focus({ preventScroll: true });
}

// --- The session ---------------------------------------------------------------------------------------------------------------------

function notice(text) {
  $('notice').textContent = text;
  $('notice').hidden = !text;
}

// Exchanges the token of the link for the cookie, once, and removes it from the address bar and the history.
async function session() {
  const token = location.hash.slice(1);
  if (/^[0-9a-f]{32}$/.test(token)) {
    history.replaceState(null, '', '/');
    const answer = await fetch('/session', { headers: { Authorization: `Bearer ${token}` } });
    if (answer.ok) sessionStorage.setItem('directory', (await answer.json()).directory);
  }
  return sessionStorage.getItem('directory');
}

let directory = null;
async function get(path) {
  const answer = await fetch(directory + path, { signal: AbortSignal.timeout(READING_LIMIT) });
  if (answer.ok) return answer.json();
  const error = new Error((await answer.text()).trim());
  error.status = answer.status;
  throw error;
}

// --- What the page shows -------------------------------------------------------------------------------------------------------------

const unknown = value => (value === null || value === undefined ? 'unknown' : number(value));
const explainer = (kind, name, attributes, ...children) =>
  h('button', { type: 'button', 'data-key': `${kind}:${name}`, onclick: () => explain(kind, name), ...attributes }, ...children);
const link = (kind, name, mono) => explainer(kind, name, { class: mono ? 'name mono' : 'name' }, name);

function programs(status) {
  const ready = (name, { ready, pods }) =>
    h('li', { class: ready === pods && pods > 0 ? null : 'bad' }, `${name} ${ready} of ${pods} ready`);
  const leader = { active: () => `${status.leader.pod} is active`, none: () => 'no controller is active', unknown: () => 'unknown which is active' };
  return [
    h('li', {}, `${status.versions.join(', ') || 'unknown version'} in ${status.namespace ?? 'an unknown namespace'}`),
    ready('controllers', status.controllers),
    ready('speakers', status.speakers),
    h('li', { class: status.leader.state === 'none' ? 'bad' : null }, leader[status.leader.state]()),
  ];
}

function figures({ status, pools, nodes, moves }) {
  const sum = name => pools.reduce((total, pool) => total + (pool[name] ?? 0), 0);
  const failover = moves.find(move => move.reason === 'OwnerFailed');
  const ready = nodes.filter(node => node.speaker === 'Ready' && !node.excluded).length;
  const ill = status.troubled.length;
  const figure = (name, value, note, isBad) =>
    h('div', {}, h('dt', {}, name), h('dd', { class: isBad ? 'bad' : null }, value), h('dd', { class: 'note' }, note));
  return [
    figure('Services', unknown(status.services), ill ? `${number(ill)} without address or owner` : 'announced as they should be', ill > 0),
    figure('Addresses in use', number(sum('assigned')), `${number(sum('available'))} free in ${plural(pools.length, 'pool')}`),
    figure('Nodes that may announce', `${ready} of ${nodes.length}`, ready === nodes.length ? 'all' : 'see below why', ready < nodes.length),
    figure(
      'Last failover',
      failover ? seconds(failover.seconds) || 'unknown' : 'none',
      failover ? `${failover.address} to ${failover.node} at ${clock(failover.time)}` : 'as far as the speakers remember',
    ),
  ];
}

function label(cell) {
  const range = cell.last ? `${cell.first} to ${cell.last}, ${plural(cell.count, 'address')}` : cell.first;
  const parts = [range, STATES[cell.state]];
  if (cell.services?.length) parts.push(cell.services.join(', '));
  if (cell.answeredBy?.length) parts.push(`answered by ${cell.answeredBy.join(', ')}`);
  return parts.concat(cell.notes ?? []).join(' · ');
}

function mapCell(cell, pool, troubled) {
  const isIll = cell.services?.some(service => troubled.has(service));
  const isRun = cell.count > 1;
  const attributes = {
    class: `cell ${cell.state}${isRun ? ' run' : ''}${isIll ? ' ill' : ''}`,
    'data-key': `cell:${pool.pool}:${cell.first}`,
    'data-state': cell.state,
    'aria-label': label(cell) + (isIll ? ' · not as it should be' : ''),
    tabindex: -1,
  };
  const text = isRun ? `${number(cell.count)} ${STATES[cell.state]}` : null;
  return isRun ? explainer('pool', pool.pool, attributes, text) : explainer('address', cell.first, attributes);
}

function rangeMap(range, pool, troubled) {
  const cells = range.cells.map(cell => mapCell(cell, pool, troubled));
  cells[0]?.setAttribute('tabindex', 0);
  return h(
    'div',
    { class: 'range' },
    h('span', { class: 'mono' }, range.range),
    ` · ${plural(range.size, 'address')}`,
    range.omitted > 0 && `, ${number(range.omitted)} not shown`,
    h('div', { class: 'cells', role: 'group', 'aria-label': `Addresses ${range.range}` }, cells),
  );
}

function poolMap(pool, troubled) {
  const capacity = (pool.assigned ?? 0) + (pool.available ?? 0);
  const share = h('i');
  share.style.width = `${capacity ? Math.max((100 * pool.assigned) / capacity, pool.assigned ? 1 : 0) : 0}%`;
  return h(
    'article',
    { class: 'pool' },
    h(
      'div',
      { class: 'facts' },
      h('h3', {}, link('pool', pool.pool)),
      h('span', {}, `${unknown(pool.assigned)} in use, ${unknown(pool.available)} free`),
      h('span', {}, pool.advertisements.length ? `announced by ${pool.advertisements.join(', ')}` : 'no advertisement'),
    ),
    h('div', { class: 'bar', 'aria-hidden': 'true' }, share),
    pool.problem && h('p', { class: 'trouble' }, `${pool.problem[0]}: ${pool.problem[1]}`),
    !pool.isInForce && h('p', { class: 'trouble' }, 'not in force'),
    pool.ranges.map(range => rangeMap(range, pool, troubled)),
  );
}

function nodeItem(node, sessions) {
  const condition = { Ready: ['ready', ''], NotReady: ['speaker not ready', 'bad'], None: ['no speaker', 'bad'] }[node.speaker];
  const [text, mood] = node.speaker === 'Ready' && node.excluded ? [node.excluded, 'warn'] : condition;
  const facts = [
    node.answers === null ? 'what it answers for is unknown' : `answers for ${plural(node.answers, 'address')}`,
    node.alive !== null && `sees ${number(node.alive)} alive`,
    sessions.length > 0 && `${sessions.filter(session => session.bgpStatus === 'Established').length} of ${plural(sessions.length, 'BGP session')} established`,
    node.flaps > 0 && `${plural(node.flaps, 'flap')} lately`,
  ];
  const chips = node.owned.slice(0, CHIPS).map(({ address, obstacle }) =>
    h('li', {}, explainer('address', address, { class: `chip${obstacle ? ' ill' : ''}`, 'data-key': `chip:${node.node}:${address}`, title: obstacle }, address)),
  );
  const more = (node.answers ?? 0) - chips.length;
  return h(
    'li',
    { class: 'node' },
    h('div', { class: 'facts' }, h('h3', {}, link('node', node.node)), h('span', { class: `state ${mood}` }, text)),
    h('p', { class: 'quiet' }, facts.filter(Boolean).join(', ')),
    chips.length > 0 && h('ul', { class: 'chips', 'aria-label': `Addresses of ${node.node}` }, chips, more > 0 && h('li', { class: 'quiet' }, `and ${number(more)} more`)),
  );
}

function serviceRow(service) {
  const state = service.isWell ? (service.answeredBy.length ? 'answered' : 'well') : (service.reason ?? 'needs attention');
  return h(
    'tr',
    { class: service.isWell ? null : 'ill' },
    h('td', {}, link('service', service.service)),
    h('td', { class: 'mono' }, service.addresses.length ? service.addresses.map(address => h('div', {}, address)) : h('span', { class: 'trouble' }, 'none')),
    h('td', {}, service.answeredBy.join(', ')),
    h('td', { class: 'whole' }, h('span', { class: `state${service.isWell ? '' : ' bad'}` }, state)),
    h('td', { class: 'next' }, service.next),
  );
}

function moveRow(move) {
  const isFailover = move.reason === 'OwnerFailed';
  return h(
    'tr',
    { class: isFailover ? 'failover' : null },
    h('td', { class: 'whole', title: move.time }, clock(move.time)),
    h('td', {}, explainer('address', move.address, { class: 'name mono', 'data-key': `move:${move.time}:${move.node}:${move.address}` }, move.address)),
    h('td', {}, move.service),
    h('td', {}, move.node),
    h('td', { class: 'whole' }, isFailover ? h('span', { class: 'badge' }, 'failover') : move.answers ? 'announces' : 'ceases'),
    h('td', {}, move.peer ? `${move.reason} (${move.peer})` : move.reason),
    h('td', { class: 'number' }, seconds(move.seconds)),
  );
}

// --- The timeline --------------------------------------------------------------------------------------------------------------------

const WINDOWS = [5, 15, 60, 6 * 60, 24 * 60, 7 * 24 * 60, 30 * 24 * 60].map(minutes => minutes * 60_000);
const LANE = 26;
const LANES = 16;

// The shortest time that has ten moves, or all.
function span(moves, now) {
  const wanted = Math.min(10, moves.length);
  return WINDOWS.find(window => moves.filter(move => now - Date.parse(move.time) <= window).length >= wanted) ?? WINDOWS.at(-1);
}

function timeline(moves, now) {
  const length = span(moves, now);
  const visible = moves.filter(move => now - Date.parse(move.time) <= length);
  const nodes = [...new Set(visible.map(move => move.node))].sort().slice(0, LANES);
  if (!nodes.length) return h('p', { class: 'empty' }, 'No address has moved lately.');
  const width = Math.max($('timeline').clientWidth, 320);
  const left = Math.min(Math.max(...nodes.map(node => node.length)) * 7 + 14, 170);
  const right = width - 70;
  const height = nodes.length * LANE + 24;
  const x = time => Math.max(left, right - ((now - time) / length) * (right - left));
  const y = node => nodes.indexOf(node) * LANE + LANE / 2;
  const ago = age => (age < 3_600_000 ? `${age / 60_000} min ago` : age < 172_800_000 ? `${age / 3_600_000} h ago` : `${age / 86_400_000} days ago`);
  const ticks = [0, 1, 2, 3, 4].map(part => (length * part) / 5);
  const lanes = nodes.map(node => [
    s('line', { class: 'lane', x1: left, x2: right, y1: y(node), y2: y(node) }),
    s('text', { x: 0, y: y(node) + 4 }, node.length > 24 ? `${node.slice(0, 23)}…` : node),
  ]);
  const axis = ticks.map(age => [
    s('line', { class: 'tick', x1: x(now - age), x2: x(now - age), y1: 0, y2: height - 18 }),
    s('text', { x: x(now - age), y: height - 4, 'text-anchor': 'middle' }, age ? ago(age) : 'now'),
  ]);
  const failovers = visible.filter(move => move.reason === 'OwnerFailed');
  const names = nodes.map(node => `${node}: ${plural(visible.filter(move => move.node === node).length, 'move')}`);
  return s(
    'svg',
    { viewBox: `0 0 ${width} ${height}`, height, role: 'img', 'aria-label': `Moves in the last ${ago(length).replace(' ago', '')}. ${names.join(', ')}. ${plural(failovers.length, 'failover')}.` },
    axis,
    lanes,
    visible.filter(move => nodes.includes(move.node)).map(move => mark(move, x, y)).reverse(),
  );
}

function mark(move, x, y) {
  const [at, lane] = [x(Date.parse(move.time)), y(move.node)];
  const title = s('title', {}, `${clock(move.time)} ${move.node} ${move.answers ? 'announces' : 'ceases to announce'} ${move.address}: ${move.reason} ${seconds(move.seconds)}`);
  if (move.reason === 'OwnerFailed') {
    const begin = x(Date.parse(move.time) - 1000 * (move.seconds ?? 0));
    return s(
      'g',
      {},
      s('line', { class: 'took', x1: Math.min(begin, at - 1), x2: at, y1: lane, y2: lane }),
      s('path', { class: 'failover', d: `M${at} ${lane - 6} ${at + 6} ${lane} ${at} ${lane + 6} ${at - 6} ${lane}z` }),
      s('text', { class: 'took', x: at + 10, y: lane + 4 }, seconds(move.seconds)),
      title,
    );
  }
  return s('circle', { class: move.answers ? 'begins' : 'ceases', cx: at, cy: lane, r: move.answers ? 4.5 : 4 }, title);
}

// --- Showing an overview -------------------------------------------------------------------------------------------------------------

let last = null;

function matching(services) {
  const wanted = $('filter').value.trim().toLowerCase();
  const text = service => [service.service, ...service.addresses, ...service.answeredBy, service.reason, service.next].join(' ').toLowerCase();
  return services.filter(service => text(service).includes(wanted));
}

function showServices({ services, status }) {
  const found = matching(services);
  show('services', found, () =>
    found.length ? found.map(serviceRow) : h('tr', {}, h('td', { class: 'empty', colspan: 5 }, services.length ? 'No Service matches the filter.' : 'No Service is known.')),
  );
  const more = (status.services ?? services.length) - services.length;
  $('services-more').textContent = more > 0 ? `${number(more)} more Services; those in trouble come first. heraldctl explain service NAMESPACE/NAME explains each.` : '';
}

function showMoves({ moves, time }) {
  show('timeline', [moves, Math.floor(Date.parse(time) / PERIOD), $('timeline').clientWidth], () => timeline(moves, Date.parse(time)));
  show('moves', moves.slice(0, MOVES), list => (list.length ? list.map(moveRow) : h('tr', {}, h('td', { class: 'empty', colspan: 7 }, 'No speaker remembers a move.'))));
  $('moves-more').textContent = moves.length > MOVES ? `${moves.length - MOVES} older moves are not listed.` : '';
}

function announceNews(overview) {
  const known = new Set((last?.moves ?? []).map(move => move.time + move.node + move.address));
  const fresh = overview.moves.filter(move => move.reason === 'OwnerFailed' && !known.has(move.time + move.node + move.address));
  if (last && fresh.length) {
    const [move] = fresh;
    $('news').textContent = `Failover: ${move.node} took ${plural(fresh.length, 'address')} over, ${move.address} in ${seconds(move.seconds)}.`;
  }
}

function showOverview(overview) {
  const { status, pools, nodes } = overview;
  announceNews(overview);
  last = overview;
  $('main').hidden = false;
  show('programs', [status.versions, status.namespace, status.controllers, status.speakers, status.leader], () => programs(status));
  $('unknown').hidden = !status.unknown.length;
  show('unknown-list', status.unknown, lines => lines.map(line => h('li', {}, line)));
  show('figures', [status.services, status.troubled.length, pools.map(pool => [pool.assigned, pool.available]), nodes.map(node => [node.speaker, node.excluded]), overview.moves.find(move => move.reason === 'OwnerFailed')], () => figures(overview));
  const troubled = new Set(status.troubled.map(line => line.service));
  show('pools', [pools, overview.morePools, [...troubled]], () => [
    ...pools.map(pool => poolMap(pool, troubled)),
    ...(pools.length ? [] : [h('p', { class: 'empty' }, 'No IPAddressPool is known.')]),
    ...(overview.morePools ? [h('p', { class: 'more' }, `and ${plural(overview.morePools, 'pool')} more`)] : []),
  ]);
  const sessions = node => status.sessions.filter(session => session.node === node.node);
  show('nodes', [nodes, status.sessions], () => (nodes.length ? nodes.map(node => nodeItem(node, sessions(node))) : h('li', { class: 'empty' }, 'No Node is known.')));
  showServices(overview);
  showMoves(overview);
}

// --- Explanations --------------------------------------------------------------------------------------------------------------------

let asked = 0;
let opener;
async function explain(kind, name) {
  asked += 1;
  const mine = asked;
  const text = $('explanation-text');
  $('explanation-heading').textContent = `${kind[0].toUpperCase()}${kind.slice(1)} ${name}`;
  $('command').textContent = `heraldctl explain ${kind} ${name}`;
  text.textContent = 'Reading the cluster';
  opener = document.activeElement?.dataset.key;
  if (!$('explanation').open) $('explanation').showModal();
  const spans = await get(`explain?${new URLSearchParams({ [kind]: name })}`).then(
    answer => answer.text.map(part => h('span', { class: part.style || null }, part.text)),
    error => [h('span', { class: 'error' }, error.message)],
  );
  if (mine === asked) text.replaceChildren(...spans);
}

// --- Keyboard and pointer in the maps ------------------------------------------------------------------------------------------------

function rove(cell) {
  for (const other of cell.parentElement.querySelectorAll('[tabindex="0"]')) other.setAttribute('tabindex', -1);
  cell.setAttribute('tabindex', 0);
}

// The cell above or below: the nearest of the next row.
function vertical(cells, cell, step) {
  const own = cell.getBoundingClientRect();
  const middle = own.left + own.width / 2;
  const rows = cells.filter(other => Math.sign(other.getBoundingClientRect().top - own.top) === step);
  const top = rows.length && (step > 0 ? rows[0] : rows.at(-1)).getBoundingClientRect().top;
  const distance = other => Math.abs(other.getBoundingClientRect().left + other.getBoundingClientRect().width / 2 - middle);
  return rows.filter(other => other.getBoundingClientRect().top === top).sort((a, b) => distance(a) - distance(b))[0];
}

$('pools').addEventListener('keydown', event => {
  const cell = event.target.closest('.cell');
  if (!cell || event.altKey || event.ctrlKey || event.metaKey) return;
  const cells = [...cell.parentElement.children];
  const place = cells.indexOf(cell);
  const targets = {
    ArrowLeft: () => cells[place - 1],
    ArrowRight: () => cells[place + 1],
    ArrowUp: () => vertical(cells, cell, -1),
    ArrowDown: () => vertical(cells, cell, 1),
    Home: () => cells[0],
    End: () => cells.at(-1),
  };
  const target = targets[event.key]?.();
  if (!(event.key in targets)) return;
  event.preventDefault();
  if (!target) return;
  rove(target);
  target.focus();
});

function inspect(event) {
  const cell = event.target.closest?.('.cell');
  $('inspect').textContent = cell?.getAttribute('aria-label') ?? HINT;
  $('inspect').classList.toggle('now', Boolean(cell));
}
for (const name of ['focusin', 'pointerover']) $('pools').addEventListener(name, inspect);
$('pools').addEventListener('pointerleave', () => inspect({ target: document.activeElement }));
$('pools').addEventListener('focusout', () => inspect({ target: document.body }));

// --- Life ----------------------------------------------------------------------------------------------------------------------------

let isPaused = false;
let wake = () => {};
const sleep = time => new Promise(resolve => {
  wake = resolve;
  setTimeout(resolve, time);
});
const woken = () => new Promise(resolve => {
  wake = resolve;
});

function live(mood, text) {
  $('dot').className = `dot ${mood}`;
  $('live').textContent = text;
}

async function follow() {
  for (;;) {
    while (isPaused || document.hidden) await woken();
    const begin = performance.now();
    try {
      const overview = await get('overview');
      notice('');
      live('on', `live, as of ${clock(overview.time)}`);
      showOverview(overview);
    } catch (error) {
      live('off', 'not live');
      if (error.status === 401) return notice('This session has ended. Open the link that heraldctl ui printed when it started.');
      notice(error.status ? error.message : 'heraldctl does not answer. If it has ended, start it again and open its link.');
    }
    // A large cluster is read for half of the time at most.
    await sleep(Math.max(PERIOD, performance.now() - begin));
  }
}

$('pause').addEventListener('click', () => {
  isPaused = !isPaused;
  $('pause').textContent = isPaused ? 'Go on' : 'Pause';
  if (isPaused) live('', last ? `paused, as of ${clock(last.time)}` : 'paused');
  wake();
});
document.addEventListener('visibilitychange', () => wake());
$('close').addEventListener('click', () => $('explanation').close());
// The element that opened it may have been replaced meanwhile.
$('explanation').addEventListener('close', () => [...document.querySelectorAll('[data-key]')].find(one => one.dataset.key === opener)?.focus());
$('explanation').addEventListener('click', event => event.target === $('explanation') && $('explanation').close());
$('filter').addEventListener('input', () => last && showServices(last));
new ResizeObserver(() => last && showMoves(last)).observe($('timeline'));
addEventListener('hashchange', () => location.reload());

$('legend').append(...Object.entries(STATES).map(([state, text]) => h('li', {}, h('span', { class: `cell ${state}`, 'aria-hidden': 'true' }), text)));
$('inspect').textContent = HINT;

directory = await session();
if (directory) follow();
else {
  live('off', 'not live');
  notice('Open the link that heraldctl ui printed when it started. It has a secret that this page needs.');
}
