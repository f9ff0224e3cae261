# Compiles `mqtt` 0.2.2 and prints the directory of its modules, which is the one given unless Mix
# fetches the package. MQTT_BASELINE names a directory with its source.

defmodule Bench.Baseline do
  def main([directory]) do
    IO.puts(
      case System.fetch_env("MQTT_BASELINE") do
        {:ok, source} -> compile(source, directory)
        :error -> fetch()
      end
    )
  end

  # Its mix.exs names dependencies for its development, so it is compiled without.
  defp compile(source, directory) do
    erlang = Path.wildcard(Path.join(source, "src/*.erl"))
    elixir = Path.wildcard(Path.join(source, "lib/**/*.ex"))
    if erlang == [] or elixir == [], do: fail("there is no source of it in #{source}.")

    Code.prepend_path(directory)
    options = [outdir: to_charlist(directory)]
    Enum.each(erlang, &({:ok, _} = :compile.file(to_charlist(&1), options)))
    {:ok, _, _} = Kernel.ParallelCompiler.compile_to_path(elixir, directory)
    directory
  end

  defp fetch do
    Mix.install([{:mqtt, "0.2.2"}])
    Path.join(:code.lib_dir(:mqtt), "ebin")
  rescue
    error -> fail("Mix cannot fetch it: #{Exception.message(error)}")
  end

  defp fail(why) do
    IO.puts(:stderr, """
    mqtt 0.2.2, which this server is compared with, is missing: #{why}
    Set MQTT_BASELINE to a directory with the source of mqtt 0.2.2.
    """)

    System.halt(1)
  end
end

Bench.Baseline.main(System.argv())
