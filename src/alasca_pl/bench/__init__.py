"""What training costs on the machine at hand: time, memory and operations of all variants, in one run and in turns."""
