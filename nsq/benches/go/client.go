package main

import (
	"bytes"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/nsqio/go-nsq"
)

func (t task) producer() *nsq.Producer {
	producer, err := nsq.NewProducer(t.address, nsq.NewConfig())
	check(err)
	producer.SetLoggerLevel(nsq.LogLevelWarning)
	check(producer.Ping())
	return producer
}

// clientPublish has as many goroutines publish as there are to be messages in flight.
func clientPublish(t task) *clock {
	producer := t.producer()
	defer producer.Stop()
	return t.inTurns(t.count, func(number int) error {
		return producer.Publish(t.topic, t.body(number))
	})
}

// clientMultiPublish does the same with batches; inFlight counts messages, not batches.
func clientMultiPublish(t task) *clock {
	producer := t.producer()
	defer producer.Stop()
	t.inFlight = max(t.inFlight/t.batch, 1)
	return t.inTurns(t.count/t.batch, func(number int) error {
		bodies := make([][]byte, t.batch)
		for i := range bodies {
			bodies[i] = t.body(number*t.batch + i)
		}
		return producer.MultiPublish(t.topic, bodies)
	})
}

// inTurns calls work with the numbers below count, inFlight at a time.
func (t task) inTurns(count int, work func(int) error) *clock {
	var next atomic.Int64
	var workers sync.WaitGroup
	c := startClock()
	for i := 0; i < t.inFlight; i++ {
		workers.Add(1)
		go func() {
			defer workers.Done()
			for number := next.Add(1) - 1; number < int64(count); number = next.Add(1) - 1 {
				check(work(int(number)))
			}
		}()
	}
	workers.Wait()
	return c.pause()
}

// clientConsume takes messages with one handler that finishes each at once.
func clientConsume(t task) *clock {
	config := nsq.NewConfig()
	config.MaxInFlight = t.inFlight
	consumer, err := nsq.NewConsumer(t.topic, t.channel, config)
	check(err)
	consumer.SetLoggerLevel(nsq.LogLevelWarning)
	done := make(chan *clock)
	var c *clock
	seen := 0
	consumer.AddHandler(nsq.HandlerFunc(func(message *nsq.Message) error {
		seen++
		if t.print {
			fmt.Printf("%s\n", bytes.Fields(message.Body)[0])
		}
		if seen == t.count {
			done <- c.pause()
		}
		return nil
	}))
	c = startClock()
	check(consumer.ConnectToNSQD(t.address))
	measured := <-done
	consumer.Stop()
	<-consumer.StopChan
	return measured
}
