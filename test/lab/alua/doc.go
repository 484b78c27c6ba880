// Package alua holds the scenario of an array whose controllers are not alike: a LUN is fast through one of them, and slow or
// shut through the other.
package alua
