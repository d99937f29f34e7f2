import { type Cell, type CellResult, cellsOf, type Group, type MatrixImage, nameOf, type Verb, verbs } from './plan.ts'

/** How a run went, as a table for people. */
export function markdownReport(groups: readonly Group[], results: readonly CellResult[]): string {
  const images = new Map(groups.map(({ image }) => [image.name, image]))
  const failures = results.filter(({ error }) => error !== undefined)
  const shown = verbs.filter(verb => groups.some(group => group.verbs.includes(verb)))
  const rows = groups.map(group => {
    const cells = shown.map(verb => (group.verbs.includes(verb) ? cellText(results, group, verb) : ''))
    return `| ${[group.image.name, group.way, group.vcpus, ...cells].join(' | ')} |`
  })
  return [
    `| image | boots by | vCPUs | ${shown.join(' | ')} |`,
    `|---|---|---|${shown.map(() => '---|').join('')}`,
    ...rows,
    '',
    'Seconds of each cell. All but `boot` begin with the snapshot of a clean boot, which the first of them takes; behind',
    'the slash are the seconds from the start of a machine that is made of it to its first answer.',
    '',
    totalText(groups, results),
    '',
    ...[...images.values()].map(imageText),
    ...failures.flatMap(result => ['', `**${nameOf(result)}**`, '', '```', result.error ?? '', '```']),
    '',
  ].join('\n')
}

function cellText(results: readonly CellResult[], { image, way, vcpus }: Group, verb: Verb): string {
  const result = resultOf(results, { image: image.name, way, vcpus, verb })
  if (result === undefined) return 'not run'
  const seconds = [result.seconds, result.startSeconds].flatMap(each => (each === undefined ? [] : [each.toFixed(0)]))
  return result.error === undefined ? seconds.join(' / ') : `**failed** (${seconds.join(' / ')})`
}

function resultOf(results: readonly CellResult[], cell: Cell): CellResult | undefined {
  return results.find(result => nameOf(result) === nameOf(cell))
}

function totalText(groups: readonly Group[], results: readonly CellResult[]): string {
  const total = groups.reduce((sum, group) => sum + group.verbs.length, 0)
  const failed = results.filter(({ error }) => error !== undefined).length
  const [slowest] = results.toSorted((a, b) => b.seconds - a.seconds)
  const rest = slowest === undefined ? '' : `; the slowest is ${nameOf(slowest)} with ${slowest.seconds.toFixed(0)} s`
  return `${total} cells: ${results.length - failed} passed, ${failed} failed, ${total - results.length} not run${rest}.`
}

function imageText({ name, isReal, path }: MatrixImage): string {
  return `- ${name}: ${isReal ? `the distribution's own, ${path}` : 'stands in, made of Debian packages'}`
}

/** The same for programs: JUnit's XML, a suite an image. What was not run has failed. */
export function junitReport(groups: readonly Group[], results: readonly CellResult[]): string {
  const suites = [...new Set(groups.map(({ image }) => image.name))].map(name => {
    const cells = groups.filter(({ image }) => image.name === name).flatMap(cellsOf)
    return suiteText(
      name,
      cells.map(cell => resultOf(results, cell) ?? { ...cell, seconds: 0, error: 'it was not run' }),
    )
  })
  return ['<?xml version="1.0" encoding="UTF-8"?>', '<testsuites>', ...suites, '</testsuites>', ''].join('\n')
}

function suiteText(name: string, results: readonly CellResult[]): string {
  const failures = results.filter(({ error }) => error !== undefined).length
  const seconds = results.reduce((sum, result) => sum + result.seconds, 0)
  const counts = `tests="${results.length}" failures="${failures}" time="${seconds.toFixed(1)}"`
  return [`  <testsuite name="${escaped(name)}" ${counts}>`, ...results.map(caseText), '  </testsuite>'].join('\n')
}

function caseText({ way, vcpus, verb, seconds, error }: CellResult): string {
  const head = `    <testcase classname="${way} with ${vcpus} vCPUs" name="${verb}" time="${seconds.toFixed(1)}"`
  if (error === undefined) return `${head}/>`
  return `${head}>\n      <failure message="${escaped(error.split('\n', 1)[0] ?? '')}">${escaped(error)}</failure>\n    </testcase>`
}

/** XML 1.0 has no way to write most control characters at all. */
function escaped(text: string): string {
  const names: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' }
  return text.replaceAll(/(?![\n\t])\p{Cc}/gu, '?').replaceAll(/[&<>"]/g, each => names[each] ?? '')
}
