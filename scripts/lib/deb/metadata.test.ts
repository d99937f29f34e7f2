import test from 'ava'
import { changelog, control } from './metadata.ts'

const description = { version: '1.2.3', architecture: 'amd64', installedBytes: 1025, date: new Date(0) }

test('the fields that dpkg needs, each one line or continued with a space', t => {
  const lines = control(description).trimEnd().split('\n')
  for (const line of lines) t.regex(line, /^([A-Z][\w-]*: \S| \S)/)
  for (const line of ['Package: tsvmm', 'Version: 1.2.3', 'Architecture: amd64', 'Installed-Size: 2']) {
    t.true(lines.includes(line), line)
  }
})

test('the date of the changelog is as dpkg-parsechangelog reads it', t => {
  t.regex(changelog(description), /^ -- .+ <\S+> {2}Thu, 01 Jan 1970 00:00:00 \+0000$/m)
})
