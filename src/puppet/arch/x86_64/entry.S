/*
 * Entries of the blob, at fixed offsets.
 *
 *	0x00	live: rdi = first op, rsi = status or 0; ends in int3
 *	0x10	template: rdi = ignored; never returns
 *
 * Both expect a stack in rsp.
 */
	.section .text.entry, "ax"
	.globl	puppet_entry
puppet_entry:
	and	$-16, %rsp
	call	puppet_live
	int3
	hlt
	.org	puppet_entry + 0x10
	and	$-16, %rsp
	call	puppet_template
	hlt
	.section .note.GNU-stack, "", @progbits
