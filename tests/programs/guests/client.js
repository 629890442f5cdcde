// Asks again and again on one connection; a second one would start from 0.
'use strict';
const http = require('http');
const fs = require('fs');

const MODULUS = 1000003;
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });

function ask(body) {
	return new Promise((resolve, reject) => {
		const request = http.request(
			{ host: '127.0.0.1', port: 7004, method: 'POST', agent },
			(response) => {
				let answer = '';
				response.on('data', (part) => { answer += part; });
				response.on('end', () => resolve(answer));
			});
		request.on('error', reject);
		request.end(body);
	});
}

async function main() {
	while (!fs.existsSync('listening'))
		await new Promise((resolve) => setTimeout(resolve, 5));
	let n = 0;
	let value = 0;
	while (!fs.existsSync('finish')) {
		n += 1;
		value = (value * 31 + n) % MODULUS;
		const answer = await ask(`${n}`);
		if (answer !== `${value}`)
			throw new Error(`step ${n}: ${answer}, not ${value}`);
		fs.writeFileSync('progress.new', `${n} ${value}\n`);
		fs.renameSync('progress.new', 'progress');
	}
	if (await ask('end') !== 'bye')
		throw new Error('no bye');
	agent.destroy();
}

main();
