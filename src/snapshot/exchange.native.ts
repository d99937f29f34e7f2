import { addon } from '../native/addon.ts'

/** Lets two names swap what they stand for, in one step. False where one of them stands for nothing, or nobody can do that. */
export function exchangeNames(one: string, other: string): boolean {
  try {
    addon().exchangeNames(one, other)
    return true
  } catch (error) {
    const code: unknown = Reflect.get(Object(error), 'code')
    if (code === 'ENOENT' || code === 'EINVAL' || code === 'ENOSYS') return false
    throw error
  }
}
