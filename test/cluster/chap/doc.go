// Package chap has CHAP Secrets of a class: mistakes in them, and what they do once they are right.
package chap
