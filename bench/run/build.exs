defmodule Bench.Build do
  @moduledoc false
  # Compiles what is measured and what measures.

  alias Bench.Command

  @bench Path.expand("..", __DIR__)
  @root Path.expand("../..", __DIR__)

  @doc "The load generator's program, and the directories of the modules of the libraries."
  def all(servers, directory) do
    runners = servers |> Enum.map(&elem(&1, 2)) |> Enum.uniq()

    {load(),
     for(
       runner <- runners,
       runner != :program,
       into: %{},
       do: {runner, modules(runner, directory)}
     )}
  end

  defp load do
    manifest = Path.join(@bench, "load/Cargo.toml")
    Command.run!("cargo", ~w(build --release --quiet --manifest-path) ++ [manifest])
    target = System.get_env("CARGO_TARGET_DIR", Path.join(@bench, "load/target"))
    Path.join(target, "release/load")
  end

  defp modules(:ours, _directory) do
    build = System.get_env("MIX_BUILD_PATH", Path.join(@root, "_build/prod"))
    options = [cd: @root, env: [{"MIX_ENV", "prod"}, {"MIX_BUILD_PATH", build}]]
    Command.run!("mix", ["compile"], options)
    Path.join(build, "lib/mqtt/ebin")
  end

  # In a virtual machine of its own, and without standard input, because Mix may ask.
  defp modules(:baseline, directory) do
    script = ~s(exec elixir "$0" "$1" </dev/null)
    output = Command.run!("sh", ["-c", script, Path.join(@bench, "baseline.exs"), directory])
    output |> String.split("\n", trim: true) |> List.last()
  end
end
