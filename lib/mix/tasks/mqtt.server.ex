defmodule Mix.Tasks.Mqtt.Server do
  @shortdoc "Runs an MQTT broker"

  @moduledoc """
  Runs `MQTT.Broker` until it is told to stop.

      mix mqtt.server --port 1883

  It listens on 127.0.0.1 and lets everybody in who comes from there. With `--ip` others can come, for whom it needs `--users` or
  `--anonymous`. With `--users` everybody needs a password.

    * `--port PORT`: the port, 1883 by default; with 0 a free one;
    * `--ip ADDRESS`: the address to listen on, such as `0.0.0.0`;
    * `--users FILE`: a password file, as `mix mqtt.passwd` makes it;
    * `--acl FILE`: who may publish and subscribe to what, as `MQTT.Broker.ACL` says;
    * `--config FILE`: an Elixir script whose value is a keyword list of options of `MQTT.Broker`. Those given here count
      before them;
    * `--anonymous`: let in who has no user name, from anywhere;
    * `--help`: print this.

  On SIGTERM it disconnects its clients, those of MQTT 5.0 with the reason, and stops. On SIGHUP it reads the password file and the ACL file again.
  """

  use Mix.Task

  @switches [
    port: :integer,
    ip: :string,
    users: :string,
    acl: :string,
    config: :string,
    anonymous: :boolean,
    help: :boolean
  ]
  @names for {name, _} <- @switches, do: "--#{name}"

  @impl true
  def run(arguments) do
    options = parse(arguments)
    if options[:help], do: Mix.shell().info(@moduledoc), else: serve(options)
  end

  defp serve(options) do
    {file, options} = options |> Keyword.delete(:help) |> Keyword.pop(:config)
    Mix.Task.run("app.start")
    options = Keyword.merge(config(file), Enum.map(options, &option/1))
    supervisor = start(Keyword.put_new(options, :ip, {127, 0, 0, 1}))
    [%{address: address, port: port} | _] = MQTT.Broker.listeners(options[:name] || MQTT.Broker)
    # What has it stopped before the virtual machine halts.
    task = self()
    {:ok, _} = System.trap_signal(:sigterm, fn -> stop(supervisor, task) end)
    {:ok, _} = System.trap_signal(:sighup, fn -> reload(options[:name] || MQTT.Broker) end)

    user = if options[:password_file], do: "-u USER -P PASSWORD "

    Mix.shell().info("""
    Listening on #{:inet.ntoa(address)}:#{port}. To publish:
      mosquitto_pub -h #{:inet.ntoa(address)} -p #{port} #{user}-t hello -m world\
    """)

    unless loopback?(address) or options[:password_file] || options[:anonymous] ||
             options[:handler] do
      Mix.shell().info("Only clients of this machine are let in, without --users or --anonymous.")
    end

    # The shell ends this process.
    if iex?(), do: Process.unlink(supervisor), else: await(supervisor)
  end

  defp parse(arguments) do
    case OptionParser.parse(arguments, strict: @switches) do
      {options, [], []} ->
        options

      # Before the arguments, among which is the value of an option that there is not.
      {_, _, [{option, value} | _]} ->
        Mix.raise(wrong(option, value))

      {_, [extra | _], []} ->
        Mix.raise("mqtt.server takes no argument, got: #{extra}")
    end
  end

  defp config(nil), do: []

  defp config(file) do
    unless File.regular?(file), do: Mix.raise("There is no file #{file}.")
    {options, _} = Code.eval_file(file)
    if Keyword.keyword?(options), do: options, else: Mix.raise("#{file} gives no keyword list.")
  end

  defp wrong(option, nil) when option in @names, do: "mqtt.server needs a value for #{option}"
  defp wrong(option, nil), do: "mqtt.server has no option #{option}"
  defp wrong(option, value), do: "mqtt.server cannot take #{value} for #{option}"

  defp option({:users, file}), do: {:password_file, file}
  defp option({:acl, file}), do: {:acl_file, file}

  defp option({:ip, ip}) do
    case ip |> String.to_charlist() |> :inet.parse_strict_address() do
      {:ok, address} -> {:ip, address}
      {:error, _} -> Mix.raise("--ip takes an address such as 0.0.0.0, got: #{ip}")
    end
  end

  defp option(option), do: option

  defp start(options) do
    Process.flag(:trap_exit, true)

    # As in anybody's application, it starts again after a crash.
    case Supervisor.start_link([{MQTT.Broker, options}], strategy: :one_for_one) do
      {:ok, supervisor} -> supervisor
      {:error, {:shutdown, {_, _, {:EXIT, {%ArgumentError{} = error, _}}}}} -> raise error
      {:error, reason} -> Mix.raise("The broker cannot start: #{explain(reason)}")
    end
  rescue
    error in ArgumentError -> Mix.raise(Exception.message(error))
  end

  defp explain({:shutdown, reason}), do: explain(reason)
  defp explain({:failed_to_start_child, _, reason}), do: explain(reason)
  defp explain({:listen, posix}), do: "#{:inet.format_error(posix)}"
  defp explain(sentence) when is_binary(sentence), do: sentence
  defp explain(other), do: inspect(other)

  defp stop(supervisor, task) do
    send(task, :stopping)
    Supervisor.stop(supervisor, :shutdown)
    System.stop(0)
  end

  defp reload(name) do
    with {:error, sentence} <- MQTT.Broker.reload(name),
         do: Mix.shell().error("Nothing was read again: #{sentence}")

    :ok
  end

  defp await(supervisor) do
    receive do
      :stopping -> Process.sleep(:infinity)
      {:EXIT, ^supervisor, _} -> Mix.raise("The broker has crashed too often.")
    end
  end

  defp loopback?({127, _, _, _}), do: true
  defp loopback?(address), do: address == {0, 0, 0, 0, 0, 0, 0, 1}

  # In its shell the caller is not kept.
  defp iex?, do: Enum.any?(Application.started_applications(), &(elem(&1, 0) == :iex))
end
