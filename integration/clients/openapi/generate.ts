import { createClient } from '@hey-api/openapi-ts'

/** generate.ts DESCRIPTION FOLDER: a client that holds every answer against the description that it is made from. */
const [input = '', path = ''] = process.argv.slice(2)
await createClient({
  input,
  output: { path },
  plugins: ['@hey-api/client-fetch', { name: '@hey-api/sdk', validator: true }, 'zod'],
})
