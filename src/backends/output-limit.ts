/** Output that waits for a slow reader: beyond it the oldest is dropped. */
export const outputLimitBytes = 1024 * 1024
