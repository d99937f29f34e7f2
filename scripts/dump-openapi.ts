import { openApi } from '../src/api/openapi.ts'
import { apiRoot, routes } from '../src/api/routes.ts'

/** Prints the description of the API that the server gives of itself. */
console.log(JSON.stringify(openApi(routes, apiRoot), null, 2))
