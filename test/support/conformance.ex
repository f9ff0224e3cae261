defmodule MQTT.Test.Conformance do
  @moduledoc false
  # Tests named by the normative statements of a version of MQTT, which are listed in test/conformance.
  #
  #     use MQTT.Test.Conformance, version: "3.1.1"
  #
  #     statement "MQTT-3.12.4-1", "PINGREQ is answered" do
  #       client = connected(broker(), "C")
  #       send_bytes(client, <<0xC0, 0>>)
  #       assert recv(client) == <<0xD0, 0>>
  #     end

  @lists %{"3.1.1" => "mqtt-3.1.1.tsv", "5.0" => "mqtt-5.0.tsv"}
  @directory Path.expand("../conformance", __DIR__)

  # A line a statement: number, whom it binds, packet, text, and a sketch of a test.
  @statements (for {version, file} <- @lists, into: %{} do
                 path = Path.join(@directory, file)
                 @external_resource path
                 [_header | lines] = path |> File.read!() |> String.split("\n", trim: true)

                 statements =
                   for line <- lines, not String.starts_with?(line, "#") do
                     [id, binds, _packet, text, _test] = String.split(line, "\t")
                     {id, %{binds: binds, text: text}}
                   end

                 {version, statements}
               end)

  @doc "The versions, the older one first."
  def versions, do: ["3.1.1", "5.0"]

  @doc "The statements of a version, each with its number, in the order of the list."
  def statements(version), do: Map.fetch!(@statements, version)

  @doc "The number of a statement, which must be one of the version's."
  def known!(id, version) do
    if List.keymember?(statements(version), id, 0),
      do: id,
      else: raise(ArgumentError, "MQTT #{version} has no statement #{inspect(id)}")
  end

  defmacro __using__(version: version) do
    Module.put_attribute(__CALLER__.module, :conformance_version, version)
    bytes = if version == "5.0", do: MQTT.Test.V5, else: MQTT.Test.V4

    quote do
      use ExUnit.Case, async: true
      import MQTT.Test.{Bytes, Conformance}
      import MQTT.Test.ConformanceBroker, only: [broker: 0, broker: 1, broker: 2]
      import MQTT.Test.Wire, except: [connect: 1, connect: 2]
      import unquote(bytes)
    end
  end

  @doc "A test that shows one statement, or several, given by their numbers."
  defmacro statement(ids, shown, context \\ quote(do: _), do: block) do
    version = Module.get_attribute(__CALLER__.module, :conformance_version)
    ids = for id <- List.wrap(Macro.expand(ids, __CALLER__)), do: known!(id, version)

    quote do
      @tag conformance: {unquote(version), unquote(ids), unquote(shown)}
      test unquote("#{version} [#{Enum.join(ids, ", ")}] #{shown}"), unquote(context) do
        unquote(block)
      end
    end
  end
end
