// An HTTP server with a pool of threads, and a client in the same process.
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.atomic.AtomicInteger;

public class Server {
	static final int MODULUS = 1000003;
	static final int AT_ONCE = 4;

	public static void main(String[] args) throws Exception {
		AtomicInteger served = new AtomicInteger();
		ExecutorService pool = Executors.newFixedThreadPool(AT_ONCE);
		HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", 7005), 0);
		server.setExecutor(pool);
		server.createContext("/", exchange -> {
			String[] words = new String(exchange.getRequestBody().readAllBytes()).split(" ");
			long value = (Long.parseLong(words[0]) * 31 + Long.parseLong(words[1])) % MODULUS;
			served.incrementAndGet();
			byte[] answer = Long.toString(value).getBytes();
			exchange.sendResponseHeaders(200, answer.length);
			exchange.getResponseBody().write(answer);
			exchange.close();
		});
		server.start();
		HttpClient client = HttpClient.newHttpClient();
		int n = 0;
		long value = 0;
		while (!Files.exists(Path.of("finish"))) {
			n++;
			List<CompletableFuture<HttpResponse<String>>> answers = new ArrayList<>();
			for (int i = 0; i < AT_ONCE; i++)
				answers.add(ask(client, value + " " + n));
			value = (value * 31 + n) % MODULUS;
			for (CompletableFuture<HttpResponse<String>> answer : answers)
				if (!answer.get().body().equals(Long.toString(value)))
					throw new IOException("step " + n + ": " + answer.get().body());
			if (served.get() != n * AT_ONCE)
				throw new IOException("step " + n + ": served " + served.get());
			Files.writeString(Path.of("progress.new"), n + " " + value + "\n");
			Files.move(Path.of("progress.new"), Path.of("progress"),
				StandardCopyOption.ATOMIC_MOVE);
			Thread.sleep(3);
		}
		server.stop(0);
		pool.shutdown();
	}

	static CompletableFuture<HttpResponse<String>> ask(HttpClient client, String body) {
		HttpRequest request = HttpRequest.newBuilder(URI.create("http://127.0.0.1:7005/"))
			.POST(HttpRequest.BodyPublishers.ofString(body)).build();
		return client.sendAsync(request, HttpResponse.BodyHandlers.ofString());
	}
}
