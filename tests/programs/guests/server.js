// An HTTP server; each connection has a value of its own.
'use strict';
const http = require('http');
const fs = require('fs');
const { Worker, isMainThread, parentPort } = require('worker_threads');

const MODULUS = 1000003;

if (!isMainThread) {
	parentPort.on('message', ([value, n]) => parentPort.postMessage((value * 31 + n) % MODULUS));
} else {
	const worker = new Worker(__filename);
	const server = http.createServer((request, response) => {
		const socket = request.socket;
		socket.value = socket.value || 0;
		let body = '';
		request.on('data', (part) => { body += part; });
		request.on('end', () => {
			if (body === 'end') {
				response.end('bye');
				server.close();
				worker.terminate();
				return;
			}
			worker.once('message', (value) => {
				socket.value = value;
				setTimeout(() => fs.stat('finish', () => response.end(`${value}`)), 3);
			});
			worker.postMessage([socket.value, Number(body)]);
		});
	});
	server.keepAliveTimeout = 0;
	server.requestTimeout = 0;
	server.listen(7004, '127.0.0.1', () => fs.writeFileSync('listening', ''));
}
