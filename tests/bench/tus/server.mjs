// The tus project's server for Node.js with its store of plain files: node server.mjs PORT DIRECTORY
import {FileStore} from '@tus/file-store'
import {Server} from '@tus/server'

const [port, directory] = process.argv.slice(2)
new Server({path: '/tus', datastore: new FileStore({directory})}).listen({host: '127.0.0.1', port: Number(port)})
