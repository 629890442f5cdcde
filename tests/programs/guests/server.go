// A server and a client with many connections, in goroutines.
package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"time"
)

const (
	modulus     = 1000003
	connections = 20
)

func serve(listener net.Listener) {
	for {
		connection, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer connection.Close()
			value := 0
			reader := bufio.NewReader(connection)
			for {
				var n int
				if _, err := fmt.Fscanln(reader, &n); err != nil {
					return
				}
				value = (value*31 + n) % modulus
				time.Sleep(time.Millisecond)
				fmt.Fprintln(connection, value)
			}
		}()
	}
}

func ask(steps <-chan int, answers chan<- int) {
	connection, err := net.Dial("tcp", "127.0.0.1:7006")
	if err != nil {
		panic(err)
	}
	reader := bufio.NewReader(connection)
	for n := range steps {
		fmt.Fprintln(connection, n)
		var value int
		if _, err := fmt.Fscanln(reader, &value); err != nil {
			panic(err)
		}
		answers <- value
	}
	connection.Close()
	answers <- -1
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:7006")
	if err != nil {
		panic(err)
	}
	go serve(listener)
	steps := make([]chan int, connections)
	answers := make(chan int, 1)
	for i := range steps {
		steps[i] = make(chan int)
		go ask(steps[i], answers)
	}
	n, value := 0, 0
	for {
		if _, err := os.Stat("finish"); err == nil {
			break
		}
		n++
		value = (value*31 + n) % modulus
		for i := range steps {
			steps[i] <- n
		}
		for range steps {
			if answer := <-answers; answer != value {
				panic(fmt.Sprintf("step %d: %d, not %d", n, answer, value))
			}
		}
		line := fmt.Sprintf("%d %d\n", n, value)
		if err := os.WriteFile("progress.new", []byte(line), 0o644); err != nil {
			panic(err)
		}
		if err := os.Rename("progress.new", "progress"); err != nil {
			panic(err)
		}
	}
	for i := range steps {
		close(steps[i])
	}
	for range steps {
		if answer := <-answers; answer != -1 {
			panic("an answer too many")
		}
	}
	listener.Close()
}
