package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"net"

	"github.com/nsqio/go-nsq"
)

// connection is a socket with a buffer each way: the least that a client can be.
type connection struct {
	net.Conn
	reader *bufio.Reader
	writer *bufio.Writer
}

func (t task) dial() *connection {
	socket, err := net.Dial("tcp", t.address)
	check(err)
	c := &connection{socket, bufio.NewReaderSize(socket, 64<<10), bufio.NewWriterSize(socket, 64<<10)}
	_, err = c.writer.Write(nsq.MagicV2)
	check(err)
	identify, err := nsq.Identify(map[string]interface{}{"client_id": "raw", "feature_negotiation": true})
	check(err)
	c.send(identify)
	check(c.writer.Flush())
	c.response()
	return c
}

func (c *connection) send(command *nsq.Command) {
	_, err := command.WriteTo(c.writer)
	check(err)
}

// frame reads one into the buffer, which grows where it must, and returns its type and data.
func (c *connection) frame(buffer *[]byte) (int32, []byte) {
	var length int32
	header := (*buffer)[:4]
	_, err := io.ReadFull(c.reader, header)
	check(err)
	length = int32(binary.BigEndian.Uint32(header))
	if int(length) > len(*buffer) {
		*buffer = make([]byte, length)
	}
	frame := (*buffer)[:length]
	_, err = io.ReadFull(c.reader, frame)
	check(err)
	return int32(binary.BigEndian.Uint32(frame)), frame[4:]
}

// response waits for the answer to a command, and answers heartbeats meanwhile.
func (c *connection) response() {
	buffer := make([]byte, 4096)
	c.responseInto(&buffer)
}

func (c *connection) responseInto(buffer *[]byte) {
	for {
		kind, data := c.frame(buffer)
		switch {
		case kind == nsq.FrameTypeError:
			log.Fatalf("nsqd answered %s", data)
		case string(data) == "_heartbeat_":
			c.send(nsq.Nop())
			check(c.writer.Flush())
		default:
			return
		}
	}
}

// rawPublish writes as many as may be in flight, and then reads their answers.
func rawPublish(t task) *clock {
	connection := t.dial()
	defer connection.Close()
	buffer := make([]byte, 4096)
	c := startClock()
	for sent := 0; sent < t.count; {
		window := min(t.inFlight, t.count-sent)
		for i := 0; i < window; i++ {
			connection.send(nsq.Publish(t.topic, t.body(sent+i)))
		}
		check(connection.writer.Flush())
		for i := 0; i < window; i++ {
			connection.responseInto(&buffer)
		}
		sent += window
	}
	return c.pause()
}

// rawMultiPublish writes one batch at a time, and waits for its answer.
func rawMultiPublish(t task) *clock {
	connection := t.dial()
	defer connection.Close()
	buffer := make([]byte, 4096)
	bodies := make([][]byte, t.batch)
	c := startClock()
	for sent := 0; sent < t.count; sent += t.batch {
		for i := range bodies {
			bodies[i] = t.body(sent + i)
		}
		command, err := nsq.MultiPublish(t.topic, bodies)
		check(err)
		connection.send(command)
		check(connection.writer.Flush())
		connection.responseInto(&buffer)
	}
	return c.pause()
}

// rawConsume finishes what it reads, and writes when many answers wait or nothing more is there to read.
func rawConsume(t task) *clock {
	connection := t.dial()
	defer connection.Close()
	c := startClock()
	connection.send(nsq.Subscribe(t.topic, t.channel))
	check(connection.writer.Flush())
	connection.response()
	connection.send(nsq.Ready(t.inFlight))
	check(connection.writer.Flush())
	buffer := make([]byte, 4096)
	unwritten := 0
	for seen := 0; seen < t.count; {
		kind, data := connection.frame(&buffer)
		if kind == nsq.FrameTypeMessage {
			// Behind 8 bytes of time and 2 of attempts.
			var id nsq.MessageID
			copy(id[:], data[10:])
			connection.send(nsq.Finish(id))
			unwritten++
			seen++
			if t.print {
				fmt.Printf("%s\n", data[26:34])
			}
		} else if kind == nsq.FrameTypeError {
			log.Fatalf("nsqd answered %s", data)
		} else {
			connection.send(nsq.Nop())
			unwritten = t.inFlight
		}
		if unwritten > t.inFlight*3/4 || connection.reader.Buffered() == 0 {
			check(connection.writer.Flush())
			unwritten = 0
		}
	}
	check(connection.writer.Flush())
	return c.pause()
}
