// Publishes to, or consumes from, one nsqd with the Go client, and says what that cost.
//
// It stands beside async-nsq in the benchmark, once with the Go client's own types (`client`) and once
// with bare commands on a socket (`raw`), and it is the other side of the interoperability tests.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"log"
	"os"
	"strings"
	"syscall"
	"time"
)

// task is what to do; the flags of the program.
type task struct {
	address  string
	topic    string
	channel  string
	count    int
	size     int
	batch    int
	inFlight int
	print    bool
	filling  []byte
}

func main() {
	var t task
	flag.StringVar(&t.address, "nsqd", "127.0.0.1:4150", "host:port of nsqd's TCP side")
	flag.StringVar(&t.topic, "topic", "bench", "topic")
	flag.StringVar(&t.channel, "channel", "bench", "channel to consume from")
	flag.IntVar(&t.count, "count", 1, "how many messages")
	flag.IntVar(&t.size, "size", 200, "length of a body in bytes, from 8; it begins with the message's number")
	flag.IntVar(&t.batch, "batch", 100, "how many messages an MPUB has")
	flag.IntVar(&t.inFlight, "in-flight", 100, "how many publishes, or messages consumed, are unanswered at a time")
	flag.BoolVar(&t.print, "print", false, "print the first word of each body consumed")
	flag.Parse()
	t.filling = bytes.Repeat([]byte(" "), max(t.size, 8))

	work := map[string]func(task) *clock{
		"client publish": clientPublish,
		"client mpub":    clientMultiPublish,
		"client consume": clientConsume,
		"raw publish":    rawPublish,
		"raw mpub":       rawMultiPublish,
		"raw consume":    rawConsume,
	}[strings.Join(flag.Args(), " ")]
	if work == nil {
		log.Fatal("usage: [flags] client|raw publish|mpub|consume")
	}
	seconds, cpu := work(t).stop()
	fmt.Printf("measured %d %.6f %.6f %d\n", t.count, seconds, cpu, peakMemory())
}

// body is the message with this number: seven digits, a space, and filling.
func (t task) body(number int) []byte {
	body := make([]byte, len(t.filling))
	copy(body, t.filling)
	for i := 6; i >= 0; i-- {
		body[i] = byte('0' + number%10)
		number /= 10
	}
	return body
}

// clock measures from its making until it is stopped.
type clock struct {
	begun time.Time
	cpu   float64
	ended float64
	spent float64
}

func startClock() *clock {
	return &clock{begun: time.Now(), cpu: cpuSeconds()}
}

// pause ends the measurement; what comes later, such as closing, does not count.
func (c *clock) pause() *clock {
	c.ended = time.Since(c.begun).Seconds()
	c.spent = cpuSeconds() - c.cpu
	return c
}

func (c *clock) stop() (float64, float64) {
	return c.ended, c.spent
}

// cpuSeconds is what this process has used, in user and kernel mode.
func cpuSeconds() float64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		log.Fatal(err)
	}
	seconds := func(t syscall.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }
	return seconds(usage.Utime) + seconds(usage.Stime)
}

// peakMemory is the most memory that was resident, in KiB.
func peakMemory() int {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for _, line := range strings.Split(string(status), "\n") {
		var kib int
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &kib); err == nil {
			return kib
		}
	}
	return 0
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
