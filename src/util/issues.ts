import type * as z from 'zod/mini'

/**
 * How what a program reads once or twice is checked, saying what was found instead. Zod would compile a parser for each object
 * first: that takes longer than such checks and delays the start of a machine.
 */
export const seldomChecked = { reportInput: true, jitless: true } as const

/** A schema's complaint: where, without places in lists, and what is wrong there, as a person would say it. */
export function describeIssue(issue: z.core.$ZodIssue): { path: string[]; reason: string } {
  const path = issue.path.filter(part => typeof part === 'string').map(printable)
  return { path, reason: reasonOfIssue(issue) }
}

/** A name that anybody may have chosen, without what would steer a terminal or make two lines of one. */
export function printable(name: string): string {
  return name.replaceAll(/\p{Cc}/gu, '?')
}

/** What is wrong, as a person would say it. */
export function reasonOfIssue(issue: z.core.$ZodIssue): string {
  switch (issue.code) {
    case 'invalid_type':
      return issue.input === undefined ? 'is missing' : `must be of type ${issue.expected}`
    case 'unrecognized_keys':
      return `unknown key ${issue.keys.map(printable).join(', ')}`
    case 'too_small':
      return issue.origin === 'string' ? 'is empty' : `must be at least ${issue.minimum}`
    case 'too_big':
      return `must be at most ${issue.maximum}`
    case 'invalid_value':
      return `must be one of ${issue.values.join(', ')}`
    case 'custom':
      return issue.message ?? 'is not valid'
    default:
      return 'is not valid'
  }
}
