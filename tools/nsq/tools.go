//go:build tools

// Package tools pins the NSQ servers that the tests run against, so that go.sum covers all they need.
package tools

import (
	_ "github.com/nsqio/nsq/apps/nsqd"
	_ "github.com/nsqio/nsq/apps/nsqlookupd"
)
