defmodule MQTT.Listener do
  @moduledoc """
  Listens for MQTT clients and runs a connection of `MQTT.Server` for each, under a supervisor.

      children = [
        {MQTT.Listener, port: 1883, handler: {MyServer, []}}
      ]

      Supervisor.start_link(children, strategy: :one_for_one)

  ## The life of a connection

    1. It is accepted outside the BEAM's processes. If there are too many connections, in all or from
       its address, it is closed at once.
    2. The client has `:connect_timeout` milliseconds for its CONNECT, of at most `:max_connect_size`
       bytes. Anything else closes the connection, with the answer that MQTT has for it.
    3. A process is started, which traps exits, and `c:MQTT.Server.init/2` is called in it. From there
       on it is as `MQTT.Server` says.

  When the listener is stopped, it first closes its socket; then its connections end with the reason
  `:shutdown`, and their `c:MQTT.Server.terminate/2` has `:shutdown_timeout` milliseconds.

  ## Options

  #{MQTT.Options.docs(MQTT.Listener.Options.schema())}
  Those of `MQTT.Server` belong here as well:

  #{MQTT.Options.docs(MQTT.Listener.Options.server_schema())}
  """

  use Supervisor

  alias MQTT.Listener.{Acceptor, Options}
  alias MQTT.Server.Connection

  @type option :: {atom, term}

  @typedoc """
  What `info/1` says: the address and the port that the listener is bound to, whether it is suspended,
  how many connections are open, and, since it started, how many were accepted, were refused by
  a limit, and were closed because no CONNECT came that could be taken.
  """
  @type info :: %{
          address: :inet.ip_address(),
          port: :inet.port_number(),
          suspended: boolean,
          connections: non_neg_integer,
          accepted: non_neg_integer,
          refused: non_neg_integer,
          unconnected: non_neg_integer
        }

  @doc """
  A child specification with an `:id` of its own, so that many listeners fit under one supervisor;
  the option `:id` gives another.
  """
  @spec child_spec([option]) :: Supervisor.child_spec()
  def child_spec(options) do
    %{
      id: Keyword.get_lazy(options, :id, fn -> {__MODULE__, make_ref()} end),
      start: {__MODULE__, :start_link, [options]},
      type: :supervisor,
      shutdown: :infinity
    }
  end

  @doc """
  Starts a listener.

  A wrong option raises an `ArgumentError` that names it. An address that cannot be bound is an
  error: `{:error, {:shutdown, {:failed_to_start_child, _, {:listen, posix}}}}`.

  ## Examples

      iex> defmodule Sink do
      ...>   use MQTT.Server
      ...>   def init(_args, _params), do: {:ok, nil}
      ...> end
      iex> {:ok, listener} = MQTT.Listener.start_link(ip: {127, 0, 0, 1}, port: 0, handler: {Sink, []})
      iex> MQTT.Listener.info(listener).connections
      0
      iex> Supervisor.stop(listener)
      :ok

  """
  @spec start_link([option]) :: Supervisor.on_start()
  def start_link(options) do
    options = Options.new(options)
    name = if options.name, do: [name: options.name], else: []
    Supervisor.start_link(__MODULE__, options, name)
  end

  @impl true
  def init(options) do
    # In this order, so that the socket closes before the connections end.
    children = [
      {DynamicSupervisor, strategy: :one_for_one},
      {Acceptor, {self(), options}}
    ]

    Supervisor.init(children, strategy: :rest_for_one)
  end

  @doc "What the listener is bound to and has counted. Raises if it does not run."
  @spec info(Supervisor.supervisor()) :: info
  def info(listener), do: listener |> acceptor() |> Acceptor.info()

  @doc """
  Closes the listening socket: new clients are refused by the operating system, those that are
  connected stay. Does nothing if the listener is suspended already.
  """
  @spec suspend(Supervisor.supervisor()) :: :ok
  def suspend(listener), do: listener |> acceptor() |> Acceptor.suspend()

  @doc """
  Listens again, on the same address and port, unless the listener does. An error is the one of the
  operating system, for example `{:error, :eaddrinuse}`.
  """
  @spec resume(Supervisor.supervisor()) :: :ok | {:error, :inet.posix()}
  def resume(listener), do: listener |> acceptor() |> Acceptor.resume()

  @doc false
  # The supervisor of the connections, and how one of them is started.
  def start_connection(connections, native, options) do
    DynamicSupervisor.start_child(connections, %{
      id: Connection,
      start: {Connection, :start_link, [native, options.handler, options.server]},
      restart: :temporary,
      shutdown: options.shutdown_timeout
    })
  end

  @doc false
  def connections(listener), do: child(listener, DynamicSupervisor)

  defp acceptor(listener), do: child(listener, Acceptor)

  defp child(listener, id) do
    {^id, pid, _, _} = listener |> Supervisor.which_children() |> List.keyfind(id, 0)
    pid
  end
end
