import { type CellResult, type Group, type MatrixImage, nameOf, type Verb, verbs } from './plan.ts'

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
    'Seconds of each cell; all but `boot` begin with the snapshot of a clean boot, which the first of them takes.',
    '',
    ...[...images.values()].map(imageText),
    ...failures.flatMap(result => ['', `**${nameOf(result)}**`, '', '```', result.error ?? '', '```']),
    '',
  ].join('\n')
}

function cellText(results: readonly CellResult[], { image, way, vcpus }: Group, verb: Verb): string {
  const result = results.find(each => nameOf(each) === nameOf({ image: image.name, way, vcpus, verb }))
  if (result === undefined) return 'not run'
  return result.error === undefined ? result.seconds.toFixed(0) : `**failed** (${result.seconds.toFixed(0)})`
}

function imageText({ name, isReal, path }: MatrixImage): string {
  return `- ${name}: ${isReal ? `the distribution's own, ${path}` : 'stands in, made of Debian packages'}`
}

/** The same for programs: JUnit's XML, a suite an image. What was not run has failed. */
export function junitReport(groups: readonly Group[], results: readonly CellResult[]): string {
  const suites = [...new Set(groups.map(({ image }) => image.name))].map(name => {
    const cases = groups
      .filter(({ image }) => image.name === name)
      .flatMap(({ way, vcpus, verbs: wanted }) =>
        wanted.map(verb => {
          const cell = { image: name, way, vcpus, verb }
          const result = results.find(each => nameOf(each) === nameOf(cell))
          return caseText(cell, result ?? { ...cell, seconds: 0, error: 'it was not run' })
        }),
      )
    return [`  <testsuite name="${escaped(name)}" tests="${cases.length}">`, ...cases, '  </testsuite>'].join('\n')
  })
  return ['<?xml version="1.0" encoding="UTF-8"?>', '<testsuites>', ...suites, '</testsuites>', ''].join('\n')
}

function caseText({ way, vcpus, verb }: Omit<CellResult, 'seconds'>, { seconds, error }: CellResult): string {
  const head = `    <testcase classname="${way} with ${vcpus} vCPUs" name="${verb}" time="${seconds.toFixed(1)}"`
  if (error === undefined) return `${head}/>`
  return `${head}>\n      <failure message="${escaped(error.split('\n', 1)[0] ?? '')}">${escaped(error)}</failure>\n    </testcase>`
}

/** XML 1.0 has no way to write most control characters at all. */
function escaped(text: string): string {
  const names: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' }
  return text.replaceAll(/(?![\n\t])\p{Cc}/gu, '?').replaceAll(/[&<>"]/g, each => names[each] ?? '')
}
