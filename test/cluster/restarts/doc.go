// Package restarts has the scenarios in which the driver, the target daemon or a node goes away and comes back: under I/O, and in
// the middle of what it was asked for.
package restarts
