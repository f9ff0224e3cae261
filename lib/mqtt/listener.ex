defmodule MQTT.Listener do
  @moduledoc """
  Listens for MQTT clients and runs a connection of `MQTT.Server` for each, under a supervisor.

      children = [
        {MQTT.Listener, port: 1883, handler: {MyServer, []}}
      ]

      Supervisor.start_link(children, strategy: :one_for_one)

  ## The life of a connection

    1. It is accepted, by one process for all clients. If there are too many connections, in all or from
       its address, it is closed at once. Linux gives a client to the listener with its first bytes, or
       after a second of silence (`TCP_DEFER_ACCEPT`).
    2. The client has `:connect_timeout` milliseconds for its CONNECT, of at most `:max_connect_size`
       bytes. Anything else closes the connection, with the answer that MQTT has for it.
    3. A process is started, and `c:MQTT.Server.init/2` is called in it. From there on it is as
       `MQTT.Server` says. The process traps exits, so that `c:MQTT.Server.terminate/2` is called when
       the listener stops: the end of a linked process, also of a `Task.async/1` or a port, comes to
       `c:MQTT.Server.handle_info/2` as `{:EXIT, pid, reason}`.

  When the listener is stopped, it first closes its socket; then its connections end with the reason
  `:shutdown`, and their `c:MQTT.Server.terminate/2` has `:shutdown_timeout` milliseconds.

  ## Options

  #{MQTT.Options.docs(MQTT.Listener.Options.schema())}
  Those of `MQTT.Server` belong here as well:

  #{MQTT.Options.docs(MQTT.Listener.Options.server_schema())}
  """

  use Supervisor

  alias MQTT.Listener.{Connections, Options, Socket}
  alias MQTT.Native

  @typedoc "An option of the module's documentation."
  @type option :: {atom, term}

  @typedoc """
  What `info/1` says: the address and the port that the listener is bound to, whether it is suspended,
  how many connections are open, and, since it started, how many were accepted, were refused by
  a limit, and were closed because no CONNECT came that could be taken, and how many messages were
  dropped because a client read too slowly.
  """
  @type info :: %{
          address: :inet.ip_address(),
          port: :inet.port_number(),
          suspended: boolean,
          connections: non_neg_integer,
          accepted: non_neg_integer,
          refused: non_neg_integer,
          unconnected: non_neg_integer,
          dropped_messages: non_neg_integer
        }

  @doc """
  A child specification with an `:id` of its own, so that many listeners fit under one supervisor: the
  option `:id`, or one made of the name, or of the address and port, or, where the port is 0, a unique one.
  """
  @spec child_spec([option]) :: Supervisor.child_spec()
  def child_spec(options) do
    %{
      # The options are checked when the listener starts.
      id: if(Keyword.keyword?(options), do: id(options), else: __MODULE__),
      start: {__MODULE__, :start_link, [options]},
      type: :supervisor,
      shutdown: :infinity
    }
  end

  defp id(options) do
    default =
      case {options[:name], options[:ip], options[:port]} do
        {nil, _, 0} -> make_ref()
        {nil, ip, port} -> {ip, port}
        {name, _, _} -> name
      end

    Keyword.get(options, :id, {__MODULE__, default})
  end

  @doc """
  Starts a listener.

  A wrong option raises an `ArgumentError` that names it. An address that cannot be bound is an
  error: `{:error, {:shutdown, {:listen, posix}}}`, for example with `:eaddrinuse`.

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

  # The socket is this supervisor's, so that a crash of the process that opens and closes it costs no client.
  @impl true
  def init(options) do
    case Native.listener_open(options.native, options.server.native) do
      {:ok, listener} ->
        # In this order, so that the socket closes before the connections end.
        children = [
          {Connections, {listener, options}},
          {Socket, listener}
        ]

        Supervisor.init(children, strategy: :rest_for_one)

      {:error, reason} ->
        exit({:shutdown, {:listen, reason}})
    end
  end

  @doc "What the listener is bound to and has counted. Exits the caller if it does not run."
  @spec info(Supervisor.supervisor()) :: info
  def info(listener), do: listener |> socket() |> Socket.info()

  @doc """
  Closes the listening socket: new clients are refused by the operating system, those that are
  connected stay. Does nothing if the listener is suspended already.
  """
  @spec suspend(Supervisor.supervisor()) :: :ok
  def suspend(listener), do: listener |> socket() |> Socket.suspend()

  @doc """
  Listens again, on the same address and port, unless the listener does. An error is the one of the
  operating system, for example `{:error, :eaddrinuse}`.
  """
  @spec resume(Supervisor.supervisor()) :: :ok | {:error, :inet.posix()}
  def resume(listener), do: listener |> socket() |> Socket.resume()

  defp socket(listener) do
    {Socket, pid, _, _} = listener |> Supervisor.which_children() |> List.keyfind(Socket, 0)
    pid
  end
end
