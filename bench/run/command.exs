defmodule Bench.Command do
  @moduledoc false
  # Other programs.

  @doc "Its output, if it succeeds."
  def run!(command, arguments, options \\ []) do
    case System.cmd(command, arguments, options) do
      {output, 0} -> output
      {output, _} -> raise "#{output}#{command} failed."
    end
  end

  @doc "Flags for the emulators of all servers."
  def erl_flags, do: System.get_env("BENCH_ERL_FLAGS", "")
end
