import { appendFileSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Group, nameOf } from '../../scripts/matrix/plan.ts'
import { runGroup } from './run-group.ts'

/**
 * The part of scripts/matrix that runs where guests do: `main.ts GROUP DIRECTORY` runs a group, given as JSON, and leaves a
 * line of JSON for each of its cells in DIRECTORY/results, and of those that failed what their machines said.
 */
const [text = '', directory = ''] = process.argv.slice(2)
const group: Group = JSON.parse(text)
mkdirSync(directory, { recursive: true })

await runGroup(group, {
  onResult(result, log) {
    appendFileSync(join(directory, 'results'), `${JSON.stringify(result)}\n`)
    if (result.error !== undefined) writeFileSync(join(directory, `${nameOf(result)}.log`), log)
    const how = result.error === undefined ? '' : 'failed after '
    const why = result.error?.split('\n', 1)[0] ?? ''
    console.log(`${nameOf(result)}: ${how}${result.seconds.toFixed(0)} s ${why}`.trimEnd())
  },
})
